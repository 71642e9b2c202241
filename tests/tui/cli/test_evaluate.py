"""`secateur evaluate`: two models on the same tokens, speed as JSON and as a table, and every bad input as one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from tools.io.quiet import quiet
from tools.recipe import Calibration, Recipe
from tui.cli import run

Save = Callable[..., Path]
QUICK = ["--latency", "--batch", "1,2", "--prompt", "8", "--new", "3", "--repeats", "2", "--threads", "1"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and a current folder in which models can be called by short names."""
    monkeypatch.setenv("SECATEUR_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def story(tmp_path: Path) -> list[str]:
    """Options that evaluate on a short file."""
    (tmp_path / "story.txt").write_text("The state of the union is strong. " * 40)
    return ["--text", "story.txt", "--windows", "2", "--length", "32", "--threads", "1"]


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert run(["evaluate", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_two_perplexities_are_each_what_it_is_alone(
    home: Path, story: list[str], save_random: Save, capsys: pytest.CaptureFixture[str]
) -> None:
    save_random("random")
    both = evaluated(capsys, "random", "--against", "tiny", *story)
    ours, theirs = (evaluated(capsys, name, *story) for name in ("random", "tiny"))
    assert (both["model"], both["against"]["model"]) == ("random", "tiny")
    assert (both["perplexity"], both["against"]["perplexity"]) == (ours["perplexity"], theirs["perplexity"])
    assert both["ratio"] == pytest.approx(ours["perplexity"] / theirs["perplexity"])
    assert both["ratio"] > 2
    assert both["protocol"]["text_sha256"] == both["against"]["protocol"]["text_sha256"]
    assert run(["evaluate", "random", "--against", "tiny", *story]) == 0
    head, first, second, how = (line.split() for line in capsys.readouterr().out.splitlines())
    assert head == ["perplexity", "ratio"]
    assert first == ["random", f"{both['perplexity']:.4g}", f"{both['ratio']:.4g}"]
    assert second == ["tiny", f"{both['against']['perplexity']:.4g}"]
    assert how[0] == "story.txt"


def test_different_tokenizers_are_told_before_anything_is_measured(
    home: Path, story: list[str], save_random: Save, capsys: pytest.CaptureFixture[str]
) -> None:
    save_random("other", merges=20)
    assert run(["evaluate", "tiny", "--against", "other", *story]) == 1
    _one_line(capsys, "tiny and other have different tokenizers")
    assert run(["evaluate", "tiny", "--against", "other", *QUICK]) == 0


def test_windows_longer_than_the_model_go_on_with_a_note_or_are_refused(
    home: Path, story: list[str], save_random: Save, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    save_random("short", max_position_embeddings=16)
    note = "longer than the 16 positions that the model was made for"
    assert run(["evaluate", "short", *story]) == 0
    printed = capsys.readouterr()
    assert printed.err == f"note: short: the windows of story.txt are {note}\n"
    assert f"(2 windows of 32 tokens, {note}, float32 on cpu" in printed.out
    assert evaluated(capsys, "short", *story)["protocol"]["notes"] == [note]
    ends = GPT2Config(vocab_size=512, n_embd=8, n_layer=1, n_head=2, n_positions=16, bos_token_id=0, eos_token_id=0)
    with quiet():
        GPT2LMHeadModel(ends).save_pretrained(tmp_path / "ends")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tmp_path / "short" / file, tmp_path / "ends")
    capsys.readouterr()
    for arguments, which in (
        (["evaluate", "ends", *story], "test windows (SECATEUR_TEST_LENGTH, or --length of evaluate)"),
        (["stats", "ends", "--calibration", *story[1:]], "calibration windows (--length)"),
    ):
        assert run(arguments) == 1
        _one_line(capsys, f"ends has 16 positions, too few for {which} of 32 tokens; give shorter ones")


def test_a_model_that_was_calibrated_on_the_text_is_told(
    home: Path, story: list[str], save_random: Save, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = save_random("mine")
    calibration = Calibration(source=str(tmp_path / "story.txt"), windows=2, length=32)
    Recipe(metric="W", sparsity=0.5, calibration=calibration).save(folder / "recipe.yaml")
    note = "of what the model was calibrated on"
    assert evaluated(capsys, "mine", *story)["protocol"]["notes"] == [note]
    assert run(["evaluate", "tiny", "--against", "mine", *story]) == 0
    printed = capsys.readouterr()
    assert printed.err == f"note: mine: the windows of story.txt are {note}\n"
    assert printed.out.splitlines()[-1] == f"  mine: 2 windows of 32 tokens, {note}"


def test_latency_prints_one_json_object(home: Path, save_random: Save, capsys: pytest.CaptureFixture[str]) -> None:
    save_random("flat", num_hidden_layers=1)
    found = evaluated(capsys, "flat", "--against", "tiny", *QUICK)
    assert found.keys() == {"protocol", "models", "seconds", "speedup"}
    assert (found["protocol"]["batches"], found["protocol"]["repeats"], found["protocol"]["threads"]) == ([1, 2], 2, 1)
    flat, tiny = found["models"]
    assert (flat["model"], flat["blocks"], tiny["model"], tiny["blocks"]) == ("flat", 1, "tiny", 5)
    assert [times["batch"] for times in tiny["times"]] == [1, 2]
    for index, ratio in enumerate(found["speedup"]):
        ours, theirs = (speed["times"][index] for speed in (flat, tiny))
        assert ratio.keys() == {"batch", "prefill", "blocks", "decode"}
        assert ratio["batch"] == ours["batch"]
        for name in ("prefill", "blocks", "decode"):
            rounds = [t / o for o, t in zip(ours[name]["rounds"], theirs[name]["rounds"], strict=True)]
            assert ratio[name]["rounds"] == pytest.approx(rounds)
            assert ratio[name]["median"] == pytest.approx(sum(rounds) / 2)
    alone = evaluated(capsys, "flat", *QUICK)
    assert alone.keys() == {"protocol", "models", "seconds"}
    assert len(alone["models"]) == 1


def test_latency_prints_a_table_that_is_aligned(
    home: Path, save_random: Save, capsys: pytest.CaptureFixture[str]
) -> None:
    save_random("flat", num_hidden_layers=1)
    assert run(["evaluate", "flat", "--against", "tiny", *QUICK]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[:2] == ["model    flat", "against  tiny"]
    columns = [lines[3].index(name) for name in ("model", "against", "speed-up")]
    rows = [line for line in lines[4:-4] if line.startswith("  ")]
    assert len(rows) == 2 * 6 + 3
    for row in rows:
        for column in columns if "tokens/s" not in row else columns[:2]:
            assert row[column - 2 : column] == "  "
            assert row[column] != " "
    assert next(row for row in rows if "blocks  " in row).split() == ["blocks", "1", "5", "20.0", "%"]
    assert [row.split()[-3] for row in rows if "decode, per token" in row] == ["x", "x"]
    assert printed.err.splitlines() == ["batch 1: 3 rounds of 8+3 tokens", "batch 2: 3 rounds of 8+3 tokens"]
    assert run(["evaluate", "flat", *QUICK]) == 0
    alone = capsys.readouterr().out
    assert "speed-up" not in alone
    assert "against" not in alone


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--latency", "--batch", "0"], 2, '--batch: "0" is no list of sizes'),
        (["--latency", "--batch", "1,-4"], 2, '--batch: "1,-4" is no list of sizes'),
        (["--latency", "--batch", "1,x"], 2, '--batch: "1,x" is no list of sizes: write whole numbers'),
        (["--latency", "--batch", ""], 2, '--batch: "" is no list of sizes'),
        (["--latency", "--prompt", "0"], 2, "Invalid value for '--prompt'"),
        (["--latency", "--new", "0"], 2, "Invalid value for '--new'"),
        (["--latency", "--repeats", "0"], 2, "Invalid value for '--repeats'"),
        (["--latency", "--windows", "3"], 2, "--windows is for perplexity"),
        (["--latency", "--length", "64"], 2, "--length is for perplexity"),
        (["--latency", "--text", "c4"], 2, "--text is for perplexity"),
        (["--batch", "1"], 2, "--batch is for speed: add --latency"),
        (["--prompt", "8"], 2, "--prompt is for speed"),
        (["--new", "8"], 2, "--new is for speed"),
        (["--repeats", "8"], 2, "--repeats is for speed"),
        (["--latency", "--prompt", "400", "--new", "200"], 1, "tiny has 512 positions, too few for a prompt of 400"),
        (["--latency", "--against", "./nowhere"], 1, "./nowhere does not exist"),
        (["--against", "./nowhere"], 1, "./nowhere does not exist"),
        (["--against", "./empty"], 1, "./empty has no weights"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    arguments: list[str], code: int, says: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home.parent / "empty").mkdir()
    assert run(["evaluate", "tiny", *arguments]) == code
    _one_line(capsys, says)


def _one_line(capsys: pytest.CaptureFixture[str], says: str) -> None:
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("secateur: ")
    assert printed.err.count("\n") == 1
    assert says in printed.err
