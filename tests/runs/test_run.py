from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runs.events import RunFailed, RunInterrupted, Said
from runs.goal import Goal
from runs.run import UNREADABLE, Run, Status, create, list_runs, open_run, remove
from tools.io.errors import SecateurError, UsageError
from tui.cli import run as cli

GOAL = Goal(model="tiny", sparsity=0.5)
ROOT = Path(__file__).parents[2]

HOLD_THE_LOCK = """
import sys, time
from pathlib import Path
from runs.run import Run
with Run(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def engine_elsewhere(run: Run) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD_THE_LOCK, str(run.folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_created_runs_are_listed_and_opened_by_any_unique_beginning(tmp_path: Path) -> None:
    runs = [create(tmp_path, GOAL) for _ in range(5)]
    assert {run.id for run in list_runs(tmp_path)} == {run.id for run in runs}
    assert open_run(tmp_path, runs[2].id).goal == GOAL
    (tmp_path / "runs" / "zz-one-1").mkdir()
    (tmp_path / "runs" / "zz-one-1" / "goal.json").write_text(GOAL.model_dump_json())
    assert open_run(tmp_path, "zz").id == "zz-one-1"
    adjective, noun, number = runs[0].id.split("-")
    assert adjective
    assert noun
    assert 1 <= int(number) <= 99


def test_an_id_wins_over_longer_ids_that_begin_with_it(tmp_path: Path) -> None:
    for name in ("calm-heron-7", "calm-heron-71"):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "goal.json").write_text(GOAL.model_dump_json())
    assert open_run(tmp_path, "calm-heron-7").id == "calm-heron-7"
    with pytest.raises(UsageError, match="calm-heron-71, calm-heron-7"):
        open_run(tmp_path, "calm")


@pytest.mark.parametrize("name", ["x", "", "..", "../runs", "/etc"])
def test_an_unknown_run_is_answered_with_the_known_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no runs yet"):
        open_run(tmp_path, name)
    known = create(tmp_path, GOAL)
    with pytest.raises(UsageError, match=f"Known runs are {known.id}"):
        open_run(tmp_path, name)


def test_half_made_folders_are_no_runs(tmp_path: Path) -> None:
    (tmp_path / "runs" / ".new-1").mkdir(parents=True)
    (tmp_path / "runs" / ".new-1" / "goal.json").write_text(GOAL.model_dump_json())
    (tmp_path / "runs" / "empty-folder-1").mkdir()
    assert list_runs(tmp_path) == []


@pytest.mark.parametrize("content", ["{", "[]", '{"model": "tiny"}', '{"model": "tiny", "sparsity": 2}'])
def test_a_damaged_goal_names_the_run(tmp_path: Path, content: str) -> None:
    run = create(tmp_path, GOAL)
    (run.folder / "goal.json").write_text(content)
    with pytest.raises(SecateurError, match=f"run {run.id}: goal.json"):
        _ = Run(run.folder).goal


def test_one_unreadable_run_is_listed_beside_the_others(
    tmp_path: Path, story: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [create(tmp_path, GOAL) for _ in range(5)]
    whole, goal, journal, lost, line = runs
    for run in (whole, line):
        for event in story.whole().events:
            run.journal.append(event)
    (goal.folder / "goal.json").write_text("[" * 100_000)
    journal.journal.path.mkdir()
    lost.checkpoints.touch()
    with line.journal.path.open("ab") as file:
        file.write(b"\0\0\n")
    found = {run.id: run.glance() for run in list_runs(tmp_path)}
    assert found[whole.id] == found[line.id] == ("finished", str(GOAL))
    assert {found[run.id][0] for run in (goal, journal, lost)} == {UNREADABLE}
    assert "goal.json cannot be read" in found[goal.id][1]
    assert "journal.jsonl: cannot be read" in found[journal.id][1]
    assert "its journal is missing, so what it measured is lost" in found[lost.id][1]
    assert cli(["runs", "--json", "--home", str(tmp_path)]) == 0
    rows = {row["run"]: row for row in json.loads(capsys.readouterr().out)["runs"]}
    assert rows[whole.id]["goal"] == str(GOAL)
    assert (rows[lost.id]["status"], rows[lost.id]["goal"]) == ("unreadable", None)
    assert rows[lost.id]["problem"] == found[lost.id][1]
    assert cli(["runs", "show", line.id, "--home", str(tmp_path)]) == 0
    assert "1 line cannot be read and what they said is lost" in capsys.readouterr().err
    lines = whole.journal.path.read_bytes().splitlines(keepends=True)
    whole.journal.path.write_bytes(b"".join([b"garbage\n", *lines[1:]]))
    status, why = whole.glance()
    assert (status, "the beginning of its journal is damaged" in why) == (UNREADABLE, True)
    assert cli(["runs", "show", whole.id, "--home", str(tmp_path)]) == 1
    assert "the beginning of its journal is damaged" in capsys.readouterr().err


def test_a_home_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("in the way")
    with pytest.raises(SecateurError, match="a run cannot be created"):
        create(tmp_path, GOAL)


def test_one_engine_at_a_time_and_a_killed_one_frees_the_run(tmp_path: Path) -> None:
    run = create(tmp_path, GOAL)
    assert run.engine is None
    other = engine_elsewhere(run)
    try:
        expected = (
            f"run {run.id} is being worked on by another process (pid {other.pid} on host {socket.gethostname()}). "
            f"`secateur watch {run.id}` follows it."
        )
        with pytest.raises(SecateurError) as caught, run.lock():
            pass
        assert str(caught.value) == expected
        assert run.status() is Status.WORKING
        assert run.engine is not None
        assert run.engine.pid == other.pid
        with pytest.raises(SecateurError, match="being worked on"):
            remove(run)
        assert run.folder.exists()
    finally:
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    assert run.engine is None
    with run.lock():
        assert run.engine is not None
        assert run.engine.pid == os.getpid()
    with run.lock():  # and again
        pass


def test_status_follows_the_journal(tmp_path: Path, story: Any) -> None:
    run = create(tmp_path, GOAL)
    assert run.status() is Status.NEW
    steps = [
        (story.start().events[-1], Status.INTERRUPTED),
        (RunInterrupted(), Status.INTERRUPTED),
        (story.start().events[-1], Status.INTERRUPTED),
        (RunFailed(reason="x"), Status.FAILED),
        (story.start().events[-1], Status.INTERRUPTED),
        (story.finish("c-1").events[-1], Status.FINISHED),
    ]
    for event, status in steps:
        run.journal.append(event)
        assert run.status() is status


def test_what_was_said_is_heard_once(tmp_path: Path, story: Any) -> None:
    run = create(tmp_path, GOAL)
    run.say("only 2:4 from here")
    run.journal.append(story.start().events[-1])
    first = run.unheard(run.history())
    assert [said.text for said in first] == ["only 2:4 from here"]
    run.journal.append(first[0])
    run.say("explain c-12")
    assert [said.text for said in run.unheard(run.history())] == ["explain c-12"]
    assert isinstance(run.journal.read()[-1], Said)


def test_following_ends_when_the_engine_is_gone(tmp_path: Path, story: Any) -> None:
    run = create(tmp_path, GOAL)
    for event in story.whole().events:
        run.journal.append(event)
    assert list(run.follow(poll=0.0)) == story.events


def test_a_removed_run_is_gone(tmp_path: Path) -> None:
    run, other = create(tmp_path, GOAL), create(tmp_path, GOAL)
    run.say("hello")
    remove(run)
    assert list_runs(tmp_path) == [other]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [other.id]


def test_the_model_goes_where_the_goal_says(tmp_path: Path) -> None:
    inside = create(tmp_path, GOAL)
    assert inside.model_folder == inside.folder / "model"
    assert create(tmp_path, Goal(model="m", sparsity=0.5, output="/out")).model_folder == Path("/out")
