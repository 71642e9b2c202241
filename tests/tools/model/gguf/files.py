"""GGUF files to be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy
import pytest
import torch

from tests.tools.ggufs import words
from tools.io.errors import SecateurError
from tools.model.checkpoint import Model, locate

PROBE = torch.arange(40, 64)[None]


def logits(model: Model) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = model.network(input_ids=PROBE, use_cache=False).logits
    return out


def halves_apart(matrix: torch.Tensor, heads: int) -> torch.Tensor:
    """llama.cpp's order of the rows of q and k, which interleaves the two halves that rotary embedding pairs."""
    return matrix.view(heads, 2, -1, matrix.shape[1]).transpose(1, 2).reshape(matrix.shape)


def write_gguf(file: Path, model: Model, kind: gguf.GGMLQuantizationType) -> None:
    """The tiny Llama as llama.cpp would store it, its matrices in the given type."""
    config: Any = model.network.config
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    bpe = json.loads((model.folder / "tokenizer.json").read_text())["model"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(bpe["vocab"], key=bpe["vocab"].get))
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in bpe["merges"]])
    writer.add_token_types([3] + [1] * (config.vocab_size - 1))
    writer.add_eos_token_id(0)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.network.state_dict().items():
        if name == "lm_head.weight":
            continue
        if "q_proj" in name or "k_proj" in name:
            tensor = halves_apart(tensor, config.num_attention_heads if "q_" in name else config.num_key_value_heads)
        place = names.get_name(name, try_suffixes=(".weight",))
        values = tensor.float().numpy()
        if values.ndim == 1:
            writer.add_tensor(place, values.astype(numpy.float32))
        else:
            writer.add_tensor(place, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def kept(cache: Path) -> list[Path]:
    return [folder for folder in cache.glob("models/*") if folder.is_dir()]


def refused(file: Path, cache: Path) -> str:
    """The line that a GGUF is refused with, and nothing kept of it."""
    with pytest.raises(SecateurError) as caught:
        locate(str(file), cache)
    assert "\n" not in str(caught.value)
    assert not kept(cache)
    return str(caught.value)


WORDS = words(("<|begin|>", "<|end|>"), bos_token_id=258, eos_token_id=259)
