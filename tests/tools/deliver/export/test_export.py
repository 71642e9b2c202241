"""Who can load a folder, and what it takes."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file

from tests.tools.blocks_that_differ import CODE, SIZES, narrow, random_network
from tests.tools.deliver.export.folders import DIFFERENT, EQUAL_HEADS, PLAIN, edit, judged, plain
from tests.tools.mixtures import mixture
from tools.deliver.export import export
from tools.io.errors import SecateurError, UsageError
from tools.model.checkpoint import Model
from tools.model.packed import compress_folder
from tools.model.sample import TINY


def test_plain_folders_load_everywhere(trained: Model, tmp_path: Path) -> None:
    plain(PLAIN["llama"], trained.tokenizer, tmp_path / "model")
    for target in ("hf", "vllm", "llama.cpp"):
        assert judged(tmp_path / "model", target).verdict == "ok"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["model", "model-f16.gguf"]


def test_blocks_that_differ_need_their_code(trained: Model, tmp_path: Path) -> None:
    narrow(random_network(tf.LlamaConfig(**SIZES)), trained.tokenizer, DIFFERENT, tmp_path / "model")
    verdict = judged(tmp_path / "model", "hf")
    assert verdict.verdict == "needs"
    assert any("trust_remote_code=True (modeling_pruned.py)" in line for line in verdict.lines)
    verdict = judged(tmp_path / "model", "vllm")
    assert (verdict.verdict, verdict.files) == ("cannot", ())
    assert "one number of query heads for all blocks, here are [3, 4]" in verdict.lines[0]
    assert "wants attention in every block, and block 0 has none" in verdict.lines[0]
    (tmp_path / "model" / CODE).unlink()
    for target in ("hf", "vllm"):
        assert judged(tmp_path / "model", target).lines[0].endswith("the code for that, modeling_pruned.py, is missing")


def test_a_qwen3_whose_blocks_differ_has_no_gguf(trained: Model, tmp_path: Path) -> None:
    narrow(
        random_network(tf.Qwen3Config(**SIZES)), trained.tokenizer, {1: {"intermediate_size": 8}}, tmp_path / "model"
    )
    verdict = judged(tmp_path / "model", "llama.cpp")
    assert (verdict.verdict, verdict.files) == ("cannot", ())
    assert "for Llama only (deci), and qwen3 is none" in verdict.lines[0]
    assert judged(tmp_path / "model", "vllm").verdict == "needs"


def test_other_families_are_for_their_converter(trained: Model, tmp_path: Path) -> None:
    config = tf.GPT2Config(vocab_size=512, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    plain(config, trained.tokenizer, tmp_path / "model")
    verdict = judged(tmp_path / "model", "llama.cpp")
    assert verdict.verdict == "cannot"
    assert "convert_hf_to_gguf.py" in verdict.lines[1]
    assert judged(tmp_path / "model", "hf").verdict == judged(tmp_path / "model", "vllm").verdict == "ok"


def lose_a_norm(folder: Path) -> None:
    found = load_file(folder / "model.safetensors")
    found.pop("model.norm.weight")
    save_file(found, folder / "model.safetensors")


def quantise(folder: Path) -> None:
    found = load_file(folder / "model.safetensors")
    save_file({k: t.to(torch.int8) for k, t in found.items()}, folder / "model.safetensors")


DAMAGES = {
    r"there are no weights": lambda folder: (folder / "model.safetensors").unlink(),
    r"model\.norm\.weight is missing": lose_a_norm,
    r"is stored as I8: quantised": quantise,
    r"gate_proj\.weight is 256 x 96, but config.json says 128 x 96": lambda folder: edit(
        folder / "config.json", intermediate_size=128
    ),
    r"transformers knows no model_type enigma": lambda folder: edit(folder / "config.json", model_type="enigma"),
    r"transformers refuses config.json": lambda folder: edit(folder / "config.json", num_attention_heads="six"),
    r"names block 7; there are 5": lambda folder: edit(
        folder / "config.json", per_layer_config={"7": {"skip": ["mlp"]}}
    ),
    r"makes no sense: 10000000000 blocks": lambda folder: edit(folder / "config.json", num_hidden_layers=10**10),
    r"cannot be read: experts": lambda folder: edit(folder / "config.json", per_layer_config={"1": {"experts": 2}}),
    r"cannot be read": lambda folder: edit(folder / "config.json", per_layer_config=[1]),
    r"heads for 4 key-value heads": lambda folder: edit(
        folder / "config.json", per_layer_config={"1": {"num_key_value_heads": 4}}
    ),
    r"names no code under auto_map": lambda folder: edit(folder / "config.json", per_layer_config={"1": {}}),
}


@pytest.mark.parametrize("says", DAMAGES)
def test_what_transformers_cannot_load_nobody_can(says: str, tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "model")
    DAMAGES[says](tmp_path / "model")
    verdict = judged(tmp_path / "model", "hf")
    assert verdict.verdict == "cannot"
    assert len(verdict.lines) == 1
    assert re.search(says, verdict.lines[0])


def test_folders_that_are_none_are_errors(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "config.json").write_text('{"model_type": ')
    (tmp_path / "untyped").mkdir()
    (tmp_path / "untyped" / "config.json").write_text("[]")
    shutil.copytree(TINY, tmp_path / "cut")
    (tmp_path / "cut" / "model.safetensors").write_bytes(b"\x00" * 5)
    for place, says in {
        "nowhere": "is not a folder",
        "empty": "has no config.json",
        "torn": "is damaged or unreadable",
        "untyped": "names no model_type",
        "cut": "is damaged or unreadable",
    }.items():
        for target in ("hf", "vllm", "llama.cpp"):
            with pytest.raises(SecateurError, match=says) as caught:
                judged(tmp_path / place, target)
            assert "\n" not in str(caught.value)


def test_options_that_mean_nothing_are_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--dtype is for llama"):
        export(TINY, "vllm", dtype="f32")
    with pytest.raises(UsageError, match="--output is for vllm and llama"):
        export(TINY, "hf", output=tmp_path / "copy")


def test_nothing_is_overwritten(trained: Model, tmp_path: Path) -> None:
    narrow(random_network(tf.LlamaConfig(**SIZES)), trained.tokenizer, EQUAL_HEADS, tmp_path / "model")
    (tmp_path / "thesis.tex").write_text("years of work")
    for target in ("vllm", "llama.cpp"):
        with pytest.raises(SecateurError, match="exists already"):
            export(tmp_path / "model", target, output=tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "model")
    found = load_file(tmp_path / "model" / "model.safetensors")
    found = {key: tensor.float() for key, tensor in found.items()}
    found["model.layers.3.mlp.up_proj.weight"][1, 1] = 70_000.0
    save_file(found, tmp_path / "model" / "model.safetensors")
    with pytest.raises(SecateurError, match=r"up_proj.weight holds .* not finite in f16; --dtype bf16 or f32"):
        export(tmp_path / "model", "llama.cpp")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert export(tmp_path / "model", "llama.cpp", dtype="bf16").files[0].name == "model-bf16.gguf"


def test_packed_weights_are_restored_first(trained: Model, tmp_path: Path) -> None:
    network = random_network(PLAIN["llama"])
    for parameter in network.model.layers.parameters():
        parameter.data[..., ::2] = 0
    network.save_pretrained(tmp_path / "model")
    trained.tokenizer.save_pretrained(tmp_path / "model")
    compress_folder(tmp_path / "model")
    with pytest.raises(SecateurError, match=r"is packed\. Export what `secateur restore .* --output DIR` unpacks"):
        export(tmp_path / "model", "hf")


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_a_mixture_loads_as_it_is(family: str, trained: Model, tmp_path: Path) -> None:
    mixture(family).network.save_pretrained(tmp_path)
    trained.tokenizer.save_pretrained(tmp_path)
    assert export(tmp_path, "hf").verdict == "ok"
    assert "Transformers backend may serve it" in "\n".join(export(tmp_path, "vllm").lines)
    assert export(tmp_path, "llama.cpp").verdict == "cannot"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_gets_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(SecateurError, match="no permission"):
        export(TINY, "llama.cpp", output=tmp_path / "it.gguf")
