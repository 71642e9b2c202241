"""Runs that an earlier version began and that were killed half-way come to the end that they would have come to.

`runs_of_before` holds their folders as the kill left them, and `ends.json` what the same goals came to in that version
when nobody killed them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from agent.engine import work
from runs.fold.summary import summary
from runs.run import Status, open_run

BEFORE = Path(__file__).parent / "runs_of_before"
ENDS = json.loads((BEFORE / "ends.json").read_text())


@pytest.mark.parametrize("name", ENDS)
def test_a_run_of_before_is_resumed_to_the_same_end(name: str, tmp_path: Path) -> None:
    shutil.copytree(BEFORE / name, tmp_path / "runs" / name)
    run, end = open_run(tmp_path, name), ENDS[name]
    begun = run.history()
    assert run.status() is Status.INTERRUPTED
    assert 0 < len(begun.divergences) < len(end["divergences"])
    work(run)
    history = run.history()
    assert {name: {str(n): m.value for n, m in of.items()} for name, of in history.divergences.items()} == {
        name: pytest.approx(of, rel=1e-3) for name, of in end["divergences"].items()
    }
    assert {name: of.measurement.value for name, of in history.finals.items()} == pytest.approx(end["finals"], rel=1e-3)
    winner = summary(history).winner
    assert winner is not None
    assert winner.name == end["best"]
    assert run.status() is Status.FINISHED
