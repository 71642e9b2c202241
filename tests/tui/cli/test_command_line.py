"""What scripts rely on: exit codes, one clear line on stderr, one JSON object on stdout, nothing half-written."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from memory.index import Memory
from memory.remembered import of_run
from runs.events import Answered, Asked
from runs.fold.history import History
from runs.goal import Goal
from runs.messages import Message, ToolCall
from runs.run import create
from tui.cli import run
from tui.cli.shell import exit_code


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["prune", "tiny"], "--sparsity is missing"),
        (["prune", "tiny", "--sparsity", "0"], "sparsity 0:"),
        (["prune", "tiny", "--sparsity", "1"], "sparsity 1:"),
        (["prune", "tiny", "--sparsity", "1.5"], "sparsity 1.5:"),
        (["prune", "tiny", "--sparsity", "nan"], "sparsity nan:"),
        (["prune", "tiny", "--sparsity", "half"], 'sparsity "half" is not a number'),
        (["prune", "tiny", "--pattern", "3:2"], "pattern 3:2"),
        (["prune", "tiny", "--pattern", "2:4", "--sparsity", "0.6"], "pattern 2:4 means sparsity 0.5, not 0.6"),
        (["prune", "tiny", "--sparsity", "0.5", "--pattern", "zigzag"], 'pattern "zigzag" is not known'),
        (["prune", "tiny", "--sparsity", "0.5", "--method", "wander"], 'method "wander" is not known'),
        (
            ["prune", "tiny", "--sparsity", "0.5", "--designer", "gpt"],
            'designer "gpt" is not known: use builtin, random, evolution, self',
        ),
        (["prune", "tiny", "--sparsity", "0.5", "--prompting", "poem"], "--prompting: Input should be"),
        (["prune", "tiny", "--sparsity", "0.5", "--candidates", "0"], "--candidates: Input should be"),
        (["prune", "tiny", "--sparsity", "0.5", "--dtype", "int7"], "--dtype: Input should be"),
        (["prune", "tiny", "--sparsity", "0.5", "--executor", "spark"], '--executor: "spark" is not known'),
        (["prune", "tiny", "--sparsity", "0.5", "--executor", "ray://"], '--executor: "ray://" is not known'),
        (["prune", "tiny", "--sparsity", "0.5", "--workers", "2"], "--workers needs workers: give --executor"),
        (["prune", "tiny", "--sparsity", "0.5", "--executor", "ray", "--workers", "0"], "--workers: Input should be"),
        (["prune", "tiny", "--sparsity", "0.5", "--gpus-per-worker", "1"], "--gpus-per-worker is for Ray to obey"),
        (["prune", "tiny", "--sparsity", "0.5", "--gpus-per-worker", "2"], "--gpus-per-worker: Input should be"),
        (["prune", "tiny", "--sparsity", "0.5", "--device", "abacus"], 'device "abacus" cannot be used here'),
        (["prune", "tiny", "--sparsity", "0.05", "--compress"], "--compress saves nothing at sparsity 0.05"),
        (["restore", "./pruned"], "Missing option '--output'"),
        (["recover", "./pruned", "--steps", "0"], "Invalid value for '--steps'"),
        (["prune"], "Missing argument 'MODEL'"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["evaluate", "tiny", "--windows", "many"], "Invalid value for '--windows'"),
        (["evaluate", "tiny", "--text", "novel.pdf"], "novel.pdf: text comes from"),
        (["resume", "calm-heron-7"], "run calm-heron-7 is not known"),
        (["runs", "compare", "calm-heron-7"], "compare needs at least two runs"),
        (["memory", "show", "calm-heron-7/c-1"], "memory calm-heron-7/c-1 is not known"),
    ],
)
def test_wrong_usage(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SECATEUR_HOME", str(tmp_path / "home"))
    assert run(arguments) == 2
    _one_line(capsys, says)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("./nowhere", "./nowhere does not exist"),
        ("{tmp}/empty", "has no weights (looked for *.safetensors, *.gguf)"),
        ("{tmp}/cut", "is damaged or unreadable"),
    ],
)
@pytest.mark.parametrize("command", [["prune", "--sparsity", "0.5"], ["evaluate"], ["stats"]])
def test_a_model_that_is_none(
    command: list[str], model: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    _damaged_copy(tmp_path / "cut")
    home = tmp_path / "home"
    assert run([*command, model.format(tmp=tmp_path), "--home", str(home)]) == 1
    printed = capsys.readouterr()
    last = printed.err.splitlines()[-1]
    assert (printed.out, printed.err.count("secateur: ")) == ("", 1)
    assert last.startswith("secateur: ")
    assert says in last
    assert list(home.glob("runs/*")) == []


def test_a_recipe_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("metric: W\nsparsity: 2\n")
    assert run(["prune", "tiny", "--recipe", str(file), "--home", str(tmp_path / "home")]) == 1
    _one_line(capsys, "recipe.yaml: not a recipe: sparsity: Input should be less than 1")


def test_evaluate_prints_one_json_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "story.txt"
    text.write_text("The state of the union is strong. " * 40)
    arguments = [
        "evaluate",
        "tiny",
        "--text",
        str(text),
        "--windows",
        "2",
        "--length",
        "32",
        "--threads",
        "1",
        "--json",
    ]
    assert run([*arguments, "--home", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"model", "perplexity", "tokens", "protocol"} <= found.keys()
    assert found["tokens"] == 2 * 31
    assert (found["protocol"]["text"], found["protocol"]["windows"], found["protocol"]["length"]) == (
        "story.txt",
        2,
        32,
    )


def test_stats_has_an_entry_per_linear(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["stats", "tiny", "--windows", "2", "--length", "32", "--threads", "1", "--home", str(tmp_path)]
    assert run([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = [entry["name"] for entry in found["linears"]]
    assert len(names) == len(set(names)) == 7 * (1 + max(entry["block"] for entry in found["linears"]))
    assert run(arguments) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("skew", *names))


def test_stats_tries_metrics_and_allocations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["stats", "tiny", "--windows", "2", "--length", "32", "--threads", "1", "--home", str(tmp_path)]
    assert run([*arguments, "--metric", "W * X ** 0.5", "--layer", "-1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["block"], found["n_blocks"], found["sparsity"]) == (4, 5, 0.5)
    assert list(found["mean"]) == ["W * X ** 0.5", "wanda", "magnitude"]
    assert len(found["projections"]) == 7
    assert run([*arguments, "--allocation", "owl", "--sparsity", "0.6"]) == 0
    shown = capsys.readouterr().out
    assert "owl (minmax(outliers(5)) ±0.08 per block) at 60 % with the metric wanda" in shown
    assert "64 tokens of builtin/calibration" in shown


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--metric", "W * Q"], "Q is not known. Terminals are W, X"),
        (["--metric", "shortgpt"], "shortgpt removes structures"),
        (["--metric", "wanda", "--layer", "5"], "layers are the blocks 0 to 4"),
        (["--metric", "wanda", "--sparsity", "1.5"], "sparsity 1.5"),
        (["--allocation", "owl", "--layer", "1"], "--layer is for --metric alone"),
        (["--layer", "1"], "add --metric or --allocation"),
        (["--metric", "wanda", "--width", "0.1"], "--width is for --allocation"),
    ],
)
def test_trials_that_cannot_be_meant(
    more: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["stats", "tiny", *more, "--home", str(tmp_path)]) == 2
    assert says in capsys.readouterr().err


def test_doctor_never_shows_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    monkeypatch.setenv("SECATEUR_THREADS", "2")
    assert run(["doctor", "--home", str(tmp_path / "new")]) == 0
    shown = capsys.readouterr().out
    assert "sk-very-secret" not in shown
    assert run(["doctor", "--home", str(tmp_path / "new"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["endpoint"]["OPENAI_API_KEY"] == "set"
    assert found["settings"]["threads"] == {"value": 2, "source": "environment"}
    assert found["home"] == {"writable": "yes", "memories": 0}
    assert not (tmp_path / "new").exists()


def test_runs_and_memory_of_an_empty_home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["runs", "--home", str(tmp_path)]) == 0
    assert "no runs in" in capsys.readouterr().out
    assert run(["runs", "list", "--home", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == []
    assert run(["memory", "search", "--home", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"found": []}


def test_memory_lists_winners_without_a_divergence(
    story: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = of_run(History.of(story.whole().events))
    bare = known[0].model_copy(update={"id": "calm-heron-7/c-99", "divergence": None, "perplexity": 37.5})
    Memory(tmp_path).upsert([*known, bare])
    assert run(["memory", "search", "--home", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(known) + 1
    row = next(line for line in lines if "c-99" in line).split()
    assert row[1:3] == ["-", "calm-heron-7/c-99"]


def test_thoughts_and_prompts_of_a_run_are_shown(
    story: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = create(tmp_path, Goal(model="tiny", sparsity=0.5))
    story.whole()
    asked = (Message(role="system", text="You prune."), Message(role="human", text="Go\non."))
    story.events.append(Asked(call="1/design/1", model="m", messages=asked, tools=("finish",)))
    call = ToolCall(name="finish", arguments='{"why": "done"}', id="1")
    story.events.append(Answered(call="1/design/1", text="Well.", thinking="Hm.", calls=(call,), tokens_in=9))
    for event in story.events:
        made.journal.append(event)
    for flags, says in (
        (["--thoughts"], "c-2   design"),
        (["--thoughts", "--as", "dot"], "digraph thoughts {"),
        (["--thoughts", "--as", "mermaid"], "flowchart BT"),
        (["--prompts"], "## human\n\nGo\non."),
        (["--prompts"], '> Hm.\n\nWell.\n\n→ finish({"why": "done"})'),
    ):
        assert run(["runs", "show", made.id, "--home", str(tmp_path), *flags]) == 0
        assert says in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "says"), [(errno.ENOSPC, "/full/x: the disk is full"), (errno.EACCES, "/full/x: no permission")]
)
def test_what_the_disk_refuses_is_one_line(code: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(OSError(code, "whatever", "/full/x")) == 1
    _one_line(capsys, says)


def _one_line(capsys: pytest.CaptureFixture[str], says: str) -> None:
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("secateur: ")
    assert printed.err.count("\n") == 1
    assert says in printed.err


def _damaged_copy(folder: Path) -> None:
    """The tiny sample with its weights cut off in the middle."""
    from tools.model.sample import TINY

    folder.mkdir()
    for file in TINY.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
