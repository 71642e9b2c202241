"""`secateur export`: a verdict on stdout, exit code 0 or 1, one JSON object with --json."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.tools.deliver.export.folders import edit
from tools.model.sample import TINY
from tui.cli import run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "model"))


def test_a_folder_that_loads_is_ok(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", str(model), "--for", "hf"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.splitlines()[0] == f"{model} for hf: OK"
    assert f'AutoModelForCausalLM.from_pretrained("{model}")' in printed.out


def test_a_gguf_is_named_in_one_json_object(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = model.parent / "it.gguf"
    arguments = ["export", str(model), "--for", "llama.cpp", "--output", str(file), "--dtype", "bf16", "--json"]
    assert run(arguments) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["target"], said["verdict"], said["files"]) == ("llama.cpp", "ok", [str(file)])
    assert file.read_bytes()[:4] == b"GGUF"
    assert run(arguments) == 1  # it is there now
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert "it.gguf exists already" in printed.err


def test_what_cannot_be_loaded_exits_with_1(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(model / "config.json", intermediate_size=128)
    assert run(["export", str(model), "--for", "vllm"]) == 1
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.splitlines()[0] == f"{model} for vllm: no"
    assert "config.json says 128 x 96" in printed.out
    assert run(["export", str(model), "--for", "vllm", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "cannot"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["{tmp}/nowhere", "--for", "hf"], 1, "nowhere is not a folder"),
        (["{tmp}/model"], 2, "Missing option '--for'"),
        (["{tmp}/model", "--for", "onnx"], 2, "'onnx' is not one of"),
        (["{tmp}/model", "--for", "llama.cpp", "--dtype", "q4"], 2, "'q4' is not one of"),
        (["{tmp}/model", "--for", "hf", "--dtype", "f16"], 2, "--dtype is for llama.cpp"),
        (["{tmp}/model", "--for", "llama.cpp", "--output", "/proc/it.gguf"], 1, "/proc/it.gguf"),
    ],
)
def test_mistakes_get_one_line(
    arguments: list[str], code: int, says: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", *(argument.format(tmp=model.parent) for argument in arguments)]) == code
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert says in printed.err


def test_what_a_folder_says_commands_no_terminal(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(model / "config.json", model_type="\x1b]52;c;\x07evil")
    assert run(["export", str(model), "--for", "hf"]) == 1
    assert "transformers knows no model_type ?]52;c;?evil" in capsys.readouterr().out
    index = {"weight_map": {"a": "\x1b[2Jgone.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert run(["stats", str(model)]) == 1
    assert "?[2Jgone.safetensors is missing" in capsys.readouterr().err
