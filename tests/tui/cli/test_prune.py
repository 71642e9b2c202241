"""`prune` and `resume` from end to end on the tiny sample."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runs.events import CandidateMeasured
from runs.run import list_runs
from tui.cli import run

SMALL = ["--windows", "2", "--length", "64", "--threads", "1"]


@pytest.fixture(autouse=True)
def _small_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("SEARCH", "TEST"):
        monkeypatch.setenv(f"SECATEUR_{part}_WINDOWS", "2")
        monkeypatch.setenv(f"SECATEUR_{part}_LENGTH", "64")


def test_a_named_method_prints_the_object_that_scripts_rely_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["prune", "tiny", "--sparsity", "0.5", "--method", "wanda", "--json", *SMALL]
    assert run([*arguments, "--home", str(tmp_path), "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert set(found) == {
        *("run", "recipe", "metric", "pattern", "sparsity", "reach", "removed", "perplexity"),
        *("tasks", "protocol", "speedup", "candidates", "designers", "stood_in", "seconds", "output"),
    }
    assert (found["metric"], found["pattern"], found["candidates"]) == ("W * X", "unstructured", 0)
    assert abs(found["sparsity"] - 0.5) < 1e-3
    assert found["reach"] > 0.99  # all but the norms
    assert 0 < found["removed"] < found["sparsity"]
    assert found["perplexity"]["result"] > found["perplexity"]["dense"]
    assert found["output"] == str(tmp_path / "out")
    assert "tiny → 50 % unstructured" in printed.err


def test_a_recipe_of_one_run_is_applied_at_another_sparsity(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("metric: W * X\nsparsity: 0.5\n")
    arguments = ["prune", "tiny", "--recipe", str(recipe), "--sparsity", "0.25", "--home", str(tmp_path), *SMALL]
    assert run([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert abs(found["sparsity"] - 0.25) < 1e-3
    assert found["recipe"]["calibration"]["windows"] == 2


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ("metric: W * Y\nsparsity: 0.5\n", "Y is not known"),
        ("metric: __import__('os').getcwd()\nsparsity: 0.5\n", "metric"),
        ("metric: W * 9 ** 9 ** 9\nsparsity: 0.5\n", "metric"),
    ],
)
def test_a_metric_that_cannot_be_leaves_nothing_behind(
    recipe: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe)
    code = run(["prune", "tiny", "--recipe", str(file), "--home", str(tmp_path / "home"), *SMALL])
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("secateur: ")]
    assert code in (1, 2)
    assert len(errors) == 1
    assert says in errors[0]
    assert list_runs(tmp_path / "home") == []


PRUNE = ["prune", "tiny", "--sparsity", "0.5", "--candidates", "8", *SMALL, "--home"]


def test_a_run_that_is_ended_says_how_to_go_on_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "secateur", *PRUNE, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    try:
        _wait_for_a_candidate(tmp_path, lambda: process.poll() is not None)
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=300)
    _goes_on(tmp_path, (process.returncode, out, err), capsys)


def test_ctrl_c_interrupts_a_run_whose_shell_ignores_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A shell without job control starts background jobs with the signal ignored, and that is inherited."""
    before, over = signal.signal(signal.SIGINT, signal.SIG_IGN), threading.Event()

    def interrupt() -> None:
        _wait_for_a_candidate(tmp_path, over.is_set)
        if not over.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        code = run([*PRUNE, str(tmp_path)])
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGINT, before)
    _goes_on(tmp_path, (code, *capsys.readouterr()), capsys)


def _goes_on(home: Path, ended: tuple[int, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """It ended as an interrupted run does, and reaches its end when it is resumed."""
    (code, out, err), [found] = ended, list_runs(home)
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == f"secateur: interrupted. `secateur resume {found.id}` goes on where it stopped."

    assert run(["resume", found.id, "--home", str(home), "--threads", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["run"], result["candidates"]) == (found.id, 8)


def _wait_for_a_candidate(home: Path, over: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not over():
        if any(isinstance(event, CandidateMeasured) for run in list_runs(home) for event in run.journal.read()):
            return
        time.sleep(0.05)
    pytest.fail("no candidate was measured")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (["--speedup", "0.5"], "more than 1, for example 1.4"),
        (["--speedup", "1.4", "--sparsity", "0.3"], "both say how much falls"),
        (["--speedup", "1.4", "--pattern", "2:4"], "makes nothing faster"),
        (["--speedup", "1.4", "--request", "1,2"], "give batch, tokens in and tokens out"),
        (["--sparsity", "0.5", "--request", "1,512,128"], "give --speedup with it"),
        (["--sparsity", "0.5", "--multiple", "8", "--method", "wanda"], "not with unstructured per row"),
        (["--sparsity", "0.5", "--multiple", "8"], "not with unstructured per row"),
        (["--sparsity", "0.5", "--multiple", "8", "--pattern", "2:4"], "goes with --pattern width or width+depth"),
        (["--sparsity", "0.5", "--pattern", "width", "--method", "sparsegpt"], "removes single weights"),
        (["--sparsity", "0.5", "--pattern", "width", "--compress"], "leaves none"),
        (["--sparsity", "0.5", "--pattern", "wide"], "width, depth, width+depth, experts or experts+width"),
        (["--sparsity", "0.5", "--pattern", "width", "--multiple", "0"], "--multiple: Input should be greater than"),
        (["--sparsity", "0.5", "--pattern", "width", "--multiple", "9999"], "--multiple: Input should be less than"),
        (["--sparsity", "0.5", "--pattern", "depth", "--multiple", "8"], "--multiple is for neurons"),
        (["--sparsity", "0.3", "--pattern", "width", "--method", "shortgpt"], "removes by depth, not by width"),
        (["--sparsity", "0.5", "--method", "sparsegpt", "--no-compensation"], "updates the weights that stay"),
    ],
)
def test_what_cannot_be_meant_of_shapes_is_one_line(
    asked: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["prune", "tiny", "--home", str(tmp_path), *asked]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert not (tmp_path / "runs").exists()
