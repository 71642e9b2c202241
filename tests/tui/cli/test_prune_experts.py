"""Experts fall from end to end: a search compares the published methods, and anybody can load the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.tools.mixtures import mixture
from tools.model.architecture import weight
from tools.model.checkpoint import open_model
from tui.cli import run

SMALL = ["--windows", "4", "--length", "64", "--threads", "1"]


@pytest.fixture(autouse=True)
def _small_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("SEARCH", "TEST"):
        monkeypatch.setenv(f"SECATEUR_{part}_WINDOWS", "2")
        monkeypatch.setenv(f"SECATEUR_{part}_LENGTH", "64")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A checkpoint with experts, a shared one and a block without."""
    tokenizer: Any = open_model("tiny", cache=tmp_path).tokenizer
    model = mixture("qwen2_moe", tokenizer, vocab_size=len(tokenizer), max_position_embeddings=128)
    model.network.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def test_a_search_measures_both_methods_and_saves_the_better_one(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["prune", folder, "--pattern", "experts", "--sparsity", "0.5", "--home", str(tmp_path), "--json"]
    assert run([*arguments, "--output", str(tmp_path / "out"), *SMALL]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["pattern"], found["candidates"], found["sparsity"]) == ("experts", 2, 0.5)
    assert found["metric"] in ("frequency", "reap")
    assert found["perplexity"]["references"].keys() == {"frequency", "reap"}
    assert found["perplexity"]["result"] in found["perplexity"]["references"].values()
    network = AutoModelForCausalLM.from_pretrained(tmp_path / "out", trust_remote_code=False)
    assert network.config.num_experts == 3
    assert network.model.layers[2].mlp.gate.weight.shape == (3, 32)
    assert torch.isfinite(network(torch.arange(8)[None]).logits).all()
    again = open_model(str(tmp_path / "out"), cache=tmp_path)
    assert again.network.config.model_type == "qwen2_moe"


def test_a_search_of_experts_and_width_tries_both_sides_and_splits(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["prune", folder, "--pattern", "experts+width", "--sparsity", "0.3", "--multiple", "4", "--json"]
    arguments += ["--candidates", "4", "--home", str(tmp_path), "--output", str(tmp_path / "out")]
    assert run([*arguments, *SMALL]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["pattern"], found["candidates"]) == ("experts+width", 4)
    assert 0.3 <= found["sparsity"] < 0.4
    assert found["perplexity"]["references"].keys() == {"frequency", "reap", "wanda_sp"}
    assert found["recipe"]["pattern"]["kind"] == "experts+width"
    assert found["reach"] > 0.9
    network = AutoModelForCausalLM.from_pretrained(tmp_path / "out", trust_remote_code=False)
    dense = AutoModelForCausalLM.from_pretrained(folder)
    assert sum(p.numel() for p in network.parameters()) < sum(p.numel() for p in dense.parameters())
    assert torch.isfinite(network(torch.arange(8)[None]).logits).all()
    assert run(["prune", folder, "--recipe", str(tmp_path / "out" / "recipe.yaml"), "--home", str(tmp_path)]) == 0


def test_a_named_method_is_applied_without_a_pattern(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["prune", folder, "--method", "frequency", "--sparsity", "0.3", "--home", str(tmp_path)]
    assert run([*arguments, *SMALL]) == 0
    assert "smaller; a token goes through as many experts as before" in "".join(capsys.readouterr())


def test_weights_of_a_mixture_are_pruned_those_of_its_experts_too(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["prune", folder, "--method", "wanda", "--sparsity", "0.5", "--home", str(tmp_path), "--json"]
    assert run([*arguments, *SMALL]) == 0
    printed = capsys.readouterr()
    found, told = json.loads(printed.out), printed.err.splitlines()
    opened = open_model(folder, cache=tmp_path)
    reach = opened.architecture.size / sum(p.numel() for p in opened.network.model.layers.parameters())
    pruned = open_model(found["output"], cache=tmp_path)
    zeros = sum(int((weight(pruned.network, p) == 0).sum()) for p in pruned.architecture.projections)
    every = sum(p.numel() for p in opened.network.parameters())
    assert found["reach"] == pytest.approx(reach)
    assert found["removed"] == pytest.approx(zeros / every, rel=1e-3)
    assert reach > 0.9
    assert not [line for line in told if "reaches only" in line]
    card = Path(found["output"], "README.md").read_text()
    assert f"The sparsity is of {100 * reach:.1f} % of the blocks' weights" in card


@pytest.mark.parametrize(
    ("model", "sparsity", "says"),
    [("tiny", "0.5", "has no experts that are known"), ("", "0.99", "every token goes through 2 of 6 experts")],
)
@pytest.mark.parametrize(
    "asked", [["--pattern", "experts"], ["--method", "reap"], ["--pattern", "experts+width"]], ids=" ".join
)
def test_what_cannot_be_done_ends_in_one_line(
    asked: list[str],
    model: str,
    sparsity: str,
    says: str,
    folder: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["prune", model or folder, *asked, "--sparsity", sparsity, "--home", str(tmp_path), *SMALL]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("secateur: ")]
    assert len(errors) == 1
    assert says in errors[0]
