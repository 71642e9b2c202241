"""`prune --compress --masks`, `restore` and `recover` from end to end on the tiny sample."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tools.deliver.keep_zeros import read_masks
from tools.model.packed import PACKED
from tui.cli import run

SMALL = ["--length", "64", "--threads", "1"]


@pytest.fixture(autouse=True)
def _small_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECATEUR_TEST_WINDOWS", "2")
    monkeypatch.setenv("SECATEUR_TEST_LENGTH", "64")


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of an error."""
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = [line for line in printed.err.splitlines() if line.startswith("secateur: ")]
    assert len(lines) == 1
    return lines[0]


def zeros(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor == 0 for name, tensor in load_file(folder / "model.safetensors").items() if "proj" in name}


def test_a_packed_result_opens_is_restored_and_recovers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home, packed, plain = ["--home", str(tmp_path / "home")], tmp_path / "packed", tmp_path / "plain"
    prune = ["prune", "tiny", "--sparsity", "0.5", "--method", "wanda", "--windows", "2", *SMALL, *home]
    assert run([*prune, "--compress", "--masks", "--output", str(packed)]) == 0
    shown = capsys.readouterr().out
    assert "smaller on disk, same size and same speed once opened: unstructured zeros" in shown
    assert "MB, which restores bit for bit" in shown
    assert [file.name for file in packed.glob("*.safetensors")] == [f"model{PACKED}"]
    assert "`secateur restore FOLDER --output DIR`" in (packed / "README.md").read_text()

    assert run(["restore", str(packed), "--output", str(plain)]) == 0
    assert f"{plain}: restored bit for bit" in capsys.readouterr().out
    sizes = [
        (folder / name).stat().st_size for folder, name in ((packed, f"model{PACKED}"), (plain, "model.safetensors"))
    ]
    assert sizes[0] < 0.65 * sizes[1]
    for name, mask in read_masks(plain).items():
        assert torch.equal(mask, ~zeros(plain)[name])

    values = []
    for folder in (packed, plain):
        assert run(["evaluate", str(folder), "--json", "--threads", "1", *home]) == 0
        values.append(json.loads(capsys.readouterr().out)["perplexity"])
    assert values[0] == values[1]

    recover = ["recover", str(packed), "--steps", "20", "--learning-rate", "0.002", *SMALL, *home]
    assert run([*recover, "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    better = tmp_path / "packed-recovered"
    assert (found["output"], found["steps"], found["rank"]) == (str(better), 20, 8)
    assert found["perplexity"]["after"] < found["perplexity"]["before"] == values[0]
    assert printed.err.splitlines()[-1].startswith("  step 20/20   loss ")
    assert all(torch.equal(zero, zeros(plain)[name]) for name, zero in zeros(better).items())
    assert read_masks(better).keys() == read_masks(plain).keys()
    assert "## Recovery" in (better / "README.md").read_text()

    assert run([*recover, "--output", str(packed)]) == 1
    assert "is the model that was opened" in said(capsys)
    assert run(["restore", str(packed), "--output", str(plain)]) == 1
    assert "exists already" in said(capsys)
    content = (packed / f"model{PACKED}").read_bytes()
    (packed / f"model{PACKED}").write_bytes(content[:-100])
    assert run(["evaluate", str(packed), *home]) == 1
    assert "is damaged" in said(capsys)


def test_folders_that_hold_nothing_to_work_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tools.model.sample import TINY

    home = ["--home", str(tmp_path / "home")]
    for arguments, says in (
        (["restore", str(TINY), "--output", str(tmp_path / "out")], "holds no packed weights"),
        (["restore", str(tmp_path / "nowhere"), "--output", str(tmp_path / "out")], "holds no packed weights"),
        (["recover", str(TINY), *home], "holds no recipe.yaml"),
        (["recover", str(tmp_path / "nowhere"), *home], "does not exist"),
    ):
        assert run(arguments) == 1
        assert says in said(capsys)
    assert not (tmp_path / "out").exists()
