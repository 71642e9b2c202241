"""A run whose process or whose workers are killed ends as one that was not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from agent.engine import work
from runs.events import CandidateMeasured, Continued, RunFinished, Saved
from runs.goal import Workers
from runs.run import Run, Status, create
from runs.workers.results import Result
from tests.agent.searches import goal, measured_twice, winner

WORKER = """
import pathlib, sys
from agent.engine import work
from runs.run import Run
work(Run(pathlib.Path(sys.argv[1])))
"""


def _in_child(run: Run) -> subprocess.Popen[bytes]:
    """Work on the run in a process of its own."""
    root = Path(__file__).parents[2]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": str(root)}
    return subprocess.Popen([sys.executable, "-c", WORKER, str(run.folder)], env=environment, stderr=subprocess.DEVNULL)


def _lines(run: Run) -> int:
    """Of the journal, uninterpreted: to read it all the time is the work of a whole core."""
    return run.journal.path.read_bytes().count(b"\n") if run.journal.path.exists() else 0


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments_ends_as_one_that_was_not(kills: int, finished: Run, tmp_path: Path) -> None:
    """SIGKILL after a random number of journal lines and a random moment more; then it is resumed, killed again, ..."""
    rng = random.Random(7)
    lines = len(finished.journal.read())
    run = create(tmp_path, goal())
    for moment in sorted(rng.sample(range(2, lines - 2), kills)):
        child = _in_child(run)
        while _lines(run) < moment and child.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.random() * 0.1)
        assert child.poll() is None, "the run ended before it could be killed"
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert run.status() in (Status.INTERRUPTED, Status.NEW)
    work(run)
    assert winner(run) == winner(finished)
    assert not measured_twice(run)
    assert sum(isinstance(e, RunFinished) for e in run.journal.read()) == 1
    assert sum(isinstance(e, Saved) for e in run.journal.read()) == 1
    assert sum(isinstance(e, Continued) for e in run.journal.read()) == 2


class Watch:
    """Looks at the results of a run's workers as they are written, and kills the newest writer once."""

    def __init__(self, run: Run, kill_after: int) -> None:
        self._folder = run.results
        self._kill_after = kill_after
        self.writes: dict[str, set[tuple[int, int]]] = {}
        """File -> inode and time of every version that was seen."""
        self.pids: set[int] = set()
        self.killed = 0

    def look(self) -> None:
        """Look once."""
        newest = 0
        for file in self._folder.glob("*.json"):
            status = file.stat()
            versions = self.writes.setdefault(f"{file.name.split('.')[0]}.json", set())  # without its checksum
            if (status.st_ino, status.st_mtime_ns) not in versions:
                versions.add((status.st_ino, status.st_mtime_ns))
                newest = Result.model_validate_json(file.read_bytes()).pid
                self.pids.add(newest)
        if newest and not self.killed and len(self.writes) >= self._kill_after:
            os.kill(newest, signal.SIGKILL)
            self.killed = newest

    def until(self, over: Callable[[], bool]) -> None:
        """Keep looking, and look once more when it is over."""
        while not over():
            self.look()
            time.sleep(0.005)
        self.look()


def _same_as(finished: Run, run: Run, watch: Watch) -> None:
    """The run ended as the one in one process did, and every one of its numbers was measured once."""
    assert run.status() is Status.FINISHED
    assert winner(run) == winner(finished)
    assert not measured_twice(run)
    found = [e for e in run.journal.read() if isinstance(e, CandidateMeasured) and e.measurement.kind == "divergence"]
    assert watch.writes.keys() == {f"{e.recipe_id}-{e.measurement.tokens}.json" for e in found}
    assert {len(versions) for versions in watch.writes.values()} == {1}


def _alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_ray_worker_is_killed_and_the_run_ends_as_in_one_process(finished: Run, tmp_path: Path) -> None:
    run = create(tmp_path, goal(workers=Workers(executor="ray", count=2)))
    watch, over = Watch(run, kill_after=2), threading.Event()
    eye = threading.Thread(target=watch.until, args=(over.is_set,))
    eye.start()
    try:
        work(run)
    finally:
        over.set()
        eye.join()
    assert watch.killed
    _same_as(finished, run, watch)
    assert not any(map(_alive, watch.pids))


def test_processes_and_then_their_engine_are_killed_and_nothing_is_lost(finished: Run, tmp_path: Path) -> None:
    run = create(tmp_path, goal(workers=Workers(executor="processes", count=2)))
    watch = Watch(run, kill_after=2)
    child = _in_child(run)
    watch.until(lambda: len(watch.writes) >= 5 or child.poll() is not None)
    assert child.poll() is None, "the run ended before it could be killed"
    assert watch.killed
    child.kill()
    child.wait()
    deadline = time.monotonic() + 60
    watch.until(lambda: not any(map(_alive, watch.pids)) or time.monotonic() > deadline)
    assert not any(map(_alive, watch.pids)), "a worker outlived its engine"
    assert run.status() is Status.INTERRUPTED
    work(run)
    watch.look()
    _same_as(finished, run, watch)
