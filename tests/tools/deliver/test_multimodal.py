"""Models that also see or hear: the language model is pruned, and everything else is delivered as it came."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoModelForMultimodalLM

from tests.families.tiny import tiny_config
from tools.io.errors import SecateurError
from tools.model.checkpoint import open_model
from tools.model.sample import TINY
from tui.cli import run

FAMILIES = ("llava", "qwen2_5_vl", "gemma3", "mllama", "llama4", "qwen3_5", "qwen2_audio")
TOWER = ("vision", "visual", "audio", "projector", "multi_modal")
BESIDE = {
    "LICENSE": "theirs",
    "NOTICE": "notice",
    "preprocessor_config.json": '{"image_processor_type": "TheirImageProcessor", "size": {"height": 28, "width": 28}}',
    "processor_config.json": '{"processor_class": "TheirProcessor"}',
    "video_preprocessor_config.json": '{"do_resize": true}',
    "chat_template.json": '{"chat_template": "{{ messages }}"}',
    "chat_template.jinja": "{{ messages }}",
    "generation_config.json": '{"eos_token_id": 2}',
}
SMALL = ["--windows", "4", "--length", "32", "--threads", "1"]


@pytest.fixture(autouse=True)
def _small_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("SEARCH", "TEST"):
        monkeypatch.setenv(f"SECATEUR_{part}_WINDOWS", "2")
        monkeypatch.setenv(f"SECATEUR_{part}_LENGTH", "32")


def checkpoint(family: str, folder: Path) -> Path:
    """A folder as from the hub: the language model in half precision, the towers in single precision."""
    torch.manual_seed(0)
    network = AutoModelForMultimodalLM.from_config(tiny_config(family), dtype=torch.float32).eval()
    for name, parameter in network.named_parameters():
        if not parameter.isfinite().all() or parameter.abs().max() > 1e4:
            torch.nn.init.ones_(parameter)
        parameter.data += 0.01 * torch.rand_like(parameter)
        if not any(word in name for word in TOWER):
            parameter.data = parameter.data.to(torch.bfloat16)
    network.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(TINY / file, folder / file)
    for name, text in BESIDE.items():
        (folder / name).write_text(text)
    return folder


def stored(folder: Path) -> dict[str, torch.Tensor]:
    found = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            found |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    return found


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a, b)


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_language_model_is_pruned_and_nothing_is_lost(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dense, out = checkpoint(family, tmp_path / "dense"), tmp_path / "out"
    asked = ["--method", "wanda", "--sparsity", "0.5", "--home", str(tmp_path / "home"), "--output", str(out), "--json"]
    assert run(["prune", str(dense), *asked, *SMALL]) == 0, capsys.readouterr().err
    before, after = stored(dense), stored(out)
    assert before.keys() == after.keys()
    changed = {name for name in before if not same(before[name], after[name])}
    assert changed
    assert not [name for name in changed if any(word in name for word in TOWER)]
    assert all("layers." in name and before[name].dtype == after[name].dtype for name in changed)
    assert {name: (out / name).read_text() for name in BESIDE} == BESIDE
    saved = (out / "README.md").read_text().partition("Its weights are saved in ")[2].partition(", like")[0]
    assert set(saved.split(" and ")) == {"bfloat16", "float32"}
    said, was = (json.loads((folder / "config.json").read_text()) for folder in (out, dense))
    assert (said["architectures"], said["model_type"]) == (was["architectures"], was["model_type"])
    assert said["vision_config" if "vision_config" in was else "audio_config"]
    _, found = AutoModelForMultimodalLM.from_pretrained(out, output_loading_info=True)
    assert not [*found["missing_keys"], *found["unexpected_keys"], *found["mismatched_keys"]]


def test_an_export_names_the_class_that_has_the_towers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = checkpoint("llava", tmp_path / "model")
    assert run(["export", str(folder), "--for", "hf"]) == 0
    assert f'AutoModelForMultimodalLM.from_pretrained("{folder}")' in capsys.readouterr().out
    assert run(["export", str(folder), "--for", "llama.cpp"]) == 1
    assert "llava is not written here" in capsys.readouterr().out


def test_the_class_that_the_folder_names_is_opened(tmp_path: Path) -> None:
    """Of Qwen 3.5 there is a class with towers and one without."""
    folder = checkpoint("qwen3_5", tmp_path / "model")
    assert type(open_model(str(folder), cache=tmp_path).network).__name__ == "Qwen3_5ForConditionalGeneration"


def test_a_language_model_that_was_saved_without_its_towers_is_opened_by_the_class_it_names(tmp_path: Path) -> None:
    network: Any = AutoModelForCausalLM.from_config(tiny_config("mllama"), dtype=torch.float32)
    network.save_pretrained(tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(TINY / file, tmp_path / file)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "mllama_text_model"
    assert type(open_model(str(tmp_path), cache=tmp_path).network).__name__ == "MllamaForCausalLM"


@pytest.mark.parametrize(("family", "says"), [("blip", "fails in a forward pass"), ("pi0", "PI0")])
def test_what_does_not_read_text_alone_is_refused_in_one_line(family: str, says: str, tmp_path: Path) -> None:
    folder = checkpoint(family, tmp_path / "model")
    with pytest.raises(SecateurError, match=says) as caught:
        open_model(str(folder), cache=tmp_path)
    assert "\n" not in str(caught.value)
