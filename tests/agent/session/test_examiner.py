"""Tasks in conversation: the price first, then the answer, and nothing twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.session.settings import load
from agent.session.start import carry_out
from agent.session.talk.conversation import Talk
from runs.run import Run, Status, list_runs
from tests.tools.asking import InProcess
from tui.cli import run as cli
from tui.text.comparison import comparison

SMALL = {"windows": 2, "length": 64, "search_windows": 2, "search_length": 64, "test_windows": 2, "test_length": 64}


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks are asked in this process, too."""
    monkeypatch.setattr("agent.session.measures.Harness", InProcess)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "tasks"
    place.mkdir()
    samples = [{"query": f"{i} and", "choices": [" one", "the state", "us"], "gold": i % 3} for i in range(12)]
    for name in ("mine", "piqa"):
        (place / f"{name}.jsonl").write_text("".join(f"{json.dumps(sample)}\n" for sample in samples))
    return place


def carry(run: Run) -> str:
    return comparison(carry_out(run), run)


def test_a_question_about_tasks_is_priced_answered_and_then_known(
    tmp_path: Path, folder: Path, commands: list[list[str]]
) -> None:
    home = tmp_path / "home"
    talk = Talk(load(home, {**SMALL, "candidates": 1, "finalists": 1, "task_data": str(folder)}), carry)
    assert "There is no pruned model yet" in talk.say("how good is it on PIQA?")
    talk.say("prune tiny to 50 %")
    talk.say("yes")
    (run,) = list_runs(home)
    assert run.status() is Status.FINISHED
    plan = talk.say("how good is it on PIQA?")
    assert plan.startswith(
        f"Plan: the result of {run.id} and tiny answer at most 200 samples of piqa: less than a minute."
    )
    assert plan.endswith("Start? yes or no")
    told = talk.say("yes")
    assert "  piqa (acc, 12 samples): " in told
    assert ", tiny " in told.splitlines()[0]
    assert [command[:2] for command in commands] == [["evaluate", str(run.model_folder)]] * 2
    assert [("--price" in command, "--against" in command) for command in commands] == [(True, True), (False, True)]
    again = talk.say("how good is it on PIQA?")
    assert again == told  # no price: it is known


def test_another_model_can_be_asked_and_what_fails_is_one_line(
    tmp_path: Path, folder: Path, commands: list[list[str]]
) -> None:
    talk = Talk(load(tmp_path / "home", {"task_data": str(folder)}), carry, yes=True)
    told = talk.say("evaluate tiny on mine with 5 samples")
    assert "  mine (acc, 5 samples): " in told
    assert "--against" not in commands[-1]
    assert f"{folder} has no blimp.jsonl; the tasks there are mine, piqa" in talk.say("evaluate tiny on blimp")


def test_tasks_that_the_run_answered_are_read_from_its_table(
    tmp_path: Path, folder: Path, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.tasks.Harness", InProcess)
    home = ["--home", str(tmp_path / "home")]
    asked = ["--tasks", "mine", "--task-data", str(folder), "--windows", "2", "--length", "64"]
    monkeypatch.setenv("SECATEUR_TEST_WINDOWS", "2")
    monkeypatch.setenv("SECATEUR_TEST_LENGTH", "64")
    assert cli(["prune", "tiny", "--sparsity", "0.5", "--method", "wanda", *asked, *home]) == 0
    talk = Talk(load(tmp_path / "home", {"task_data": str(folder)}), carry)
    (talk.run,) = list_runs(tmp_path / "home")
    told = talk.say("evaluate it on mine")
    assert told.startswith("  mine (acc, 12 samples): ")
    assert "wanda" in told.splitlines()[-1]
    assert max(map(len, told.splitlines()[:-1])) < 100
    assert commands == []
    named = talk.say("evaluate tiny on mine")  # the dense model's own score, known from the run, not the result's
    assert "wanda" not in named
    assert [command[:2] for command in commands] == [["evaluate", "tiny"]] * 2
