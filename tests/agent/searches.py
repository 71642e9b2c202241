"""A small search on the tiny sample, and what tests ask of a run that was made so."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from runs.events import CandidateMeasured
from runs.fold.summary import summary
from runs.goal import Budget, Evaluation, Goal, Size
from runs.run import Run, open_run
from tools.recipe import Calibration


def goal(**changes: object) -> Goal:
    """A search on the tiny sample that takes a few seconds."""
    part = Size(windows=4, length=64)
    fields: dict[str, object] = {
        "model": "tiny",
        "sparsity": 0.5,
        "calibration": Calibration(windows=8, length=64),
        "evaluation": Evaluation(search=part, selection=part, test=part),
        "budget": Budget(candidates=10),
    }
    return Goal.of(**(fields | changes))


def winner(run: Run) -> str:
    """The winner's recipe and its perplexity on the test text, as one string."""
    found = summary(run.history())
    assert found.recipe is not None
    assert found.winner is not None
    return f"{found.recipe.canonical()} {found.winner.perplexity!r}"


def copied(run: Run, to: Path) -> Run:
    shutil.copytree(run.home, to / "home")
    return open_run(to / "home", run.id)


def measured_twice(run: Run) -> list[tuple[str, str, int]]:
    done = Counter(
        (e.candidate_id, e.measurement.kind, e.measurement.tokens)
        for e in run.journal.read()
        if isinstance(e, CandidateMeasured)
    )
    return [key for key, count in done.items() if count > 1]


def sql(*statements: str) -> Callable[[Path], None]:
    def do(file: Path) -> None:
        with closing(sqlite3.connect(file)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    return do


LAST = "(SELECT max(checkpoint_id) FROM checkpoints)"
