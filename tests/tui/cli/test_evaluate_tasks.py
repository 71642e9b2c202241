"""`secateur evaluate --tasks`: its JSON, its table, its files, its price, and every bad input as one line."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from tests.tools.asking import InProcess, questions, write_samples
from tools.measure.tasks import Harness
from tui.cli import run
from tui.cli.evaluate.tasks import _Lines

Save = Callable[..., Path]
ASKED = ["--tasks", "mine,piqa", "--task-data", "data", "--threads", "1"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, a current folder with two tasks, and lm-eval without a process of its own."""
    monkeypatch.setenv("SECATEUR_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("agent.session.measures.Harness", InProcess)
    write_samples(tmp_path / "data", "mine", questions(12))
    write_samples(tmp_path / "data", "piqa", [s | {"query": f"Question: {s['query']}\n"} for s in questions(10)])
    return tmp_path / "home"


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert run(["evaluate", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_two_models_give_one_json_object(home: Path, save_random: Save, capsys: pytest.CaptureFixture[str]) -> None:
    save_random("random")
    alone = evaluated(capsys, "tiny", *ASKED)
    assert alone.keys() == {"model", "protocol", "tasks", "mean", "seconds"}
    assert (alone["model"], list(alone["tasks"])) == ("tiny", ["mine", "piqa"])
    for name, count in (("mine", 12), ("piqa", 10)):
        task = alone["tasks"][name]
        assert task.keys() == {"metric", "value", "stderr", "samples", "shots", "version"}
        assert (task["metric"], task["samples"], task["shots"]) == ("acc", count, 0)
        assert task["version"].startswith("local ")
        assert task["value"] * count == pytest.approx(round(task["value"] * count))
    assert alone["mean"] == pytest.approx(sum(task["value"] for task in alone["tasks"].values()) / 2)
    assert alone["protocol"]["plan"]["names"] == ["mine", "piqa"]
    both = evaluated(capsys, "random", "--against", "tiny", *ASKED)
    against = both.pop("against")
    assert both.keys() == alone.keys()
    assert against.keys() == {"model", "protocol", "tasks", "mean", "conclusion"}
    assert against["model"] == "tiny"
    assert against["conclusion"]
    for name, line in against["tasks"].items():
        assert line.keys() == {"value", "difference", "low", "high", "flips"}
        assert line["value"] == alone["tasks"][name]["value"]
        assert line["difference"] == pytest.approx(both["tasks"][name]["value"] - line["value"])
        assert line["low"] <= line["difference"] <= line["high"]
        won, lost = line["flips"]["won"], line["flips"]["lost"]
        assert (won - lost) / both["tasks"][name]["samples"] == pytest.approx(line["difference"])
    assert against["mean"].keys() == {"value", "difference", "low", "high"}


def test_a_model_beside_itself_differs_nowhere(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluated(capsys, "tiny", "--against", "tiny", *ASKED)["against"]
    for line in found["tasks"].values():
        assert (line["difference"], line["low"], line["high"]) == (0, 0, 0)
        assert line["flips"] == {"lost": 0, "won": 0}
    assert found["conclusion"] == "tiny and tiny are right and wrong on the same samples."


def test_the_table_is_aligned_and_says_how_it_was_asked(
    home: Path, save_random: Save, capsys: pytest.CaptureFixture[str]
) -> None:
    save_random("random")
    assert run(["evaluate", "./random", "--against", "tiny", *ASKED]) == 0
    printed = capsys.readouterr()
    head, *rows = printed.out.splitlines()[:7]
    assert head.split() == ["model", "score", "difference", "flips"]
    assert [row.split()[0] for row in rows] == ["mine", "tiny", "piqa", "tiny", "mean", "tiny"]
    for column in ("model", "score", "difference"):
        place = head.index(column)
        assert {row[place - 2 : place].ljust(2) for row in rows} == {"  "}
    scored = r"mine \(acc\) +random +\d+\.\d % ± \d+\.\d +[−+]?\d+\.\d \[.*\] +\d+ lost, \d+ won$"
    assert re.search(scored, rows[0])
    assert re.fullmatch(r" +tiny +\d+\.\d % ± \d+\.\d", rows[1])
    asked, said = printed.out.splitlines()[7:9]
    assert asked.startswith("  10 to 12 samples of each task, 0 shots; lm-eval 0.")
    assert asked.endswith(
        "no chat template, no BOS, local files, float32 on cpu; ± standard error; differences with a paired 95 % "
        "bootstrap interval"
    )
    assert said.startswith("  random ")
    told = [line for line in printed.err.splitlines() if line and "it/s]" not in line]
    assert all(re.fullmatch(r"  (\./random|tiny)  (mine|piqa) +\d+ %   eta \d+:\d\d", line) for line in told)
    assert [line for line in told if "100 %" in line][-1].startswith("  tiny")
    assert run(["evaluate", "tiny", *ASKED, "--limit", "5", "--shots", "2"]) == 0
    printed = capsys.readouterr()
    assert "5 samples of each task, 2 shots" in printed.out
    assert "first 5 samples" in printed.out
    assert "difference" not in printed.out


def test_files_hold_the_same_and_no_name_becomes_markup(
    home: Path, save_random: Save, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    name = "<script>a&b|c"
    save_random(name)
    found = evaluated(capsys, f"./{name}", "--against", "tiny", *ASKED, "--output", "out/deep")
    place = tmp_path / "out" / "deep"
    assert sorted(file.name for file in place.iterdir()) == ["evaluation.html", "evaluation.json", "evaluation.md"]
    assert json.loads((place / "evaluation.json").read_text()) == found
    page = (place / "evaluation.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;a&amp;b|c" in page
    drawing = ElementTree.fromstring(re.findall(r"<svg.*</svg>", page, re.DOTALL)[0])
    circles = [item for item in drawing.iter() if item.tag.endswith("circle")]
    tips = ["".join(item.itertext()) for item in circles]
    assert [tip.split(",")[0] for tip in tips] == ["mine", "piqa"]
    assert all(f", {name}: " in tip for tip in tips)
    assert len([item for item in drawing.iter() if item.get("class") == "interval"]) == 2
    text = (place / "evaluation.md").read_text()
    assert "<script" not in text.replace("\\<", "")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in table] == [6] * 8


def test_a_place_that_is_taken_is_refused_before_anything_is_answered(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("")
    monkeypatch.setattr("agent.session.measures.Harness", None)
    assert run(["evaluate", "tiny", *ASKED, "--output", "taken"]) == 2
    _one_line(capsys, "--output taken is a file: give a folder")


def test_what_is_left_is_told_anew_for_requests_of_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    now = [0.0]
    monkeypatch.setattr("tui.cli.evaluate.tasks.time.monotonic", lambda: now[0])
    told = _Lines("tiny", Console(file=written, width=80))
    for task, done, total in (("mine", 50, 100), ("mine", 100, 100), ("says", 0, 30), ("says", 10, 30)):
        told(task, done, total)
        now[0] += 10
    assert written.getvalue().splitlines() == [
        "  tiny  mine           100 %   eta 0:00",
        "  tiny  says            33 %   eta 0:20",
    ]


def test_a_price_is_said_before_and_is_nothing_after(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "tiny", *ASKED, "--price"]) == 0
    said = capsys.readouterr().out
    assert re.fullmatch(r"  tiny: less than a minute \(44 answers, [\d,]+ tokens left, [\d,]+ tokens/s\)\n", said)
    priced = evaluated(capsys, "tiny", *ASKED, "--price")["price"]["tiny"]
    assert priced.keys() == {"minutes", "samples", "tokens", "tokens_per_second"}
    assert run(["evaluate", "tiny", *ASKED]) == 0
    capsys.readouterr()
    assert run(["evaluate", "tiny", *ASKED, "--price"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "  tiny: nothing, all 44 answers are known"


def test_ctrl_c_says_that_it_goes_on(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tools.measure.tasks.speaker.Speaker.answer", interrupted)
    assert run(["evaluate", "tiny", *ASKED]) == 130
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines()[-1] == (
        "secateur: interrupted: what is answered is kept, and the same command goes on from there"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--tasks", ""], 2, '--tasks "" names no task'),
        (["--tasks", "mine,mine", "--task-data", "data"], 2, "--tasks names mine twice"),
        (["--tasks", "mine", "--task-data", "data", "--limit", "0"], 2, "Invalid value for '--limit'"),
        (["--tasks", "mine", "--task-data", "data", "--shots", "-1"], 2, "Invalid value for '--shots'"),
        (["--tasks", "mine", "--task-data", "nowhere"], 2, "--task-data nowhere is no folder"),
        (["--tasks", "yours", "--task-data", "data"], 2, "has no yours.jsonl; the tasks there are mine, piqa"),
        (["--tasks", "mine", "--task-data", "data", "--shots", "12"], 2, "mine has 12 samples, too few for --shots 12"),
        (["--tasks", "mine", "--task-data", "data", "--chat"], 1, "tiny has no chat template: leave --chat out"),
        (["--tasks", "long", "--task-data", "data"], 1, "long: a prompt with its answer has "),
        (["--tasks", "broken", "--task-data", "data"], 1, "broken.jsonl: line 1: gold is 7, and there are 2 choices"),
        (["--tasks", "mine", "--task-data", "data", "--against", "./nowhere"], 1, "./nowhere does not exist"),
        (["--latency", "--tasks", "mine"], 2, "--latency and --tasks are asked for: give one of them at a time"),
        (["--limit", "5"], 2, "--limit is for tasks: add --tasks, or leave it out"),
        (["--shots", "5"], 2, "--shots is for tasks"),
        (["--task-data", "data"], 2, "--task-data is for tasks"),
        (["--chat"], 2, "--chat is for tasks"),
        (["--price"], 2, "--price is for tasks"),
        (["--output", "out"], 2, "--output is for tasks"),
        (["--tasks", "mine", "--text", "c4"], 2, "--text is for perplexity, which --tasks does not measure"),
        (["--tasks", "mine", "--batch", "4"], 2, "--batch is for speed"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    arguments: list[str], code: int, says: str, home: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_samples(tmp_path / "data", "broken", [questions(1)[0] | {"gold": 7}])
    write_samples(tmp_path / "data", "long", [questions(1)[0] | {"query": "again " * 600}])
    if "yours" in says:
        (tmp_path / "data" / "broken.jsonl").unlink()
        (tmp_path / "data" / "long.jsonl").unlink()
    assert run(["evaluate", "tiny", *arguments]) == code
    _one_line(capsys, says)


def test_what_lm_eval_refuses_in_its_own_process_is_one_line_too(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("agent.session.measures.Harness", Harness)
    write_samples(tmp_path / "data", "broken", [questions(1)[0] | {"gold": 7}])
    assert run(["evaluate", "tiny", "--tasks", "broken", "--task-data", "data"]) == 1
    _one_line(capsys, "broken.jsonl: line 1: gold is 7, and there are 2 choices")


def _one_line(capsys: pytest.CaptureFixture[str], says: str) -> None:
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = [line for line in printed.err.splitlines() if line and "it/s]" not in line]
    assert len(lines) == 1
    assert lines[0].startswith("secateur: ")
    assert says in lines[0]
