"""GGUF files for tests, written with the package of llama.cpp: tiny random Llamas with any keys, tensors and tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import torch
import transformers as tf
from transformers.convert_slow_tokenizer import bytes_to_unicode

from tests.tools.blocks_that_differ import random_network

Tensors = dict[str, torch.Tensor]

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "bos_token_id": None,
    "eos_token_id": None,
}
LETTERS = list(bytes_to_unicode().values())
"""The 256 letters of a byte-level vocabulary."""


def words(control: tuple[str, ...], **more: Any) -> dict[str, Any]:
    """A byte-level vocabulary: 256 letters, two merges, control tokens at its end."""
    merges = ["t h", "th e"]
    tokens = [*LETTERS, "th", "the", *control]
    types = [1] * (len(tokens) - len(control)) + [3] * len(control)
    return {"model": "gpt2", "tokens": tokens, "token_type": types, "merges": merges} | more


def network_of(rows: int, **more: Any) -> Any:
    """A random Llama with so many rows in its embedding."""
    return random_network(tf.LlamaConfig(**SIZES | {"vocab_size": rows} | more))


def neighbours(matrix: torch.Tensor, heads: int) -> torch.Tensor:
    """llama.cpp's order of the rows of q and k (or their biases), in which rotary pairs stand beside each other."""
    return matrix.reshape(heads, 2, -1, *matrix.shape[1:]).transpose(1, 2).reshape(matrix.shape)


def write(
    file: Path,
    network: Any,
    vocabulary: dict[str, Any],
    said: dict[str, Any] | None = None,
    change: Callable[[Tensors], object] = lambda tensors: None,
) -> Path:
    """A Llama as llama.cpp stores it, in float32.

    Args:
        vocabulary: keys below `tokenizer.ggml.`. said: more keys, or None for one that is left out.
        change: of the tensors, by their names in the file.
    """
    config = network.config
    keys: dict[str, Any] = {
        "llama.block_count": config.num_hidden_layers,
        "llama.context_length": config.max_position_embeddings,
        "llama.embedding_length": config.hidden_size,
        "llama.feed_forward_length": config.intermediate_size,
        "llama.attention.head_count": config.num_attention_heads,
        "llama.attention.head_count_kv": config.num_key_value_heads,
        "llama.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "llama.rope.freq_base": 10_000.0,
    }
    keys |= {f"tokenizer.ggml.{key}": value for key, value in vocabulary.items()}
    writer = gguf.GGUFWriter(file, "llama")
    for key, value in (keys | (said or {})).items():
        if value is not None:
            put(writer, key, value)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    tensors = {}
    for name, tensor in network.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if "q_proj" in name or "k_proj" in name:
            tensor = neighbours(tensor, config.num_attention_heads if "q_" in name else config.num_key_value_heads)
        tensors[names.get_name(name, try_suffixes=(".weight", ".bias"))] = tensor
    change(tensors)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def put(writer: Any, key: str, value: Any) -> None:
    """A key of whatever type its value has."""
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case list():
            writer.add_array(key, value)


def split(file: Path, count: int, said: dict[str, int] | None = None) -> list[Path]:
    """The file cut as gguf-split does: all keys in the first part, the tensors dealt out.

    Args:
        said: keys below `split.` that the last part says otherwise.
    """
    reader = gguf.GGUFReader(file)
    parts = []
    each = -(-len(reader.tensors) // count)
    for number in range(count):
        part = file.with_name(f"{file.stem}-{number + 1:05d}-of-{count:05d}.gguf")
        writer = gguf.GGUFWriter(part, "llama")
        split_keys = {"no": number, "count": count, "tensors.count": len(reader.tensors)}
        for key, value in (split_keys | ((said or {}) if number == count - 1 else {})).items():
            writer.add_uint16(f"split.{key}", value)
        if number == 0:
            for key, field in reader.fields.items():
                if not key.startswith("GGUF.") and key != "general.architecture":
                    array = field.types[0] == gguf.GGUFValueType.ARRAY
                    writer.add_key_value(key, field.contents(), field.types[0], field.types[-1] if array else None)
        for tensor in reader.tensors[number * each : (number + 1) * each]:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        parts.append(part)
    return parts
