"""In a search a recipe walks one way: it is prepared once and probed once, however often it is looked at."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agent.engine import work
from runs.goal import Budget, Evaluation, Goal, Size
from runs.run import create
from tools.prune.way import way_of
from tools.recipe import Calibration, Pattern, Structured, Unstructured

FEW = Evaluation(
    search=Size(windows=4, length=64), selection=Size(windows=2, length=64), test=Size(windows=2, length=64)
)


@pytest.mark.parametrize("pattern", [Unstructured(), Structured(kind="width+depth")], ids=str)
def test_each_recipe_is_prepared_once_and_probed_once(
    pattern: Pattern, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Counter[str]] = {"prepare": Counter(), "probe": Counter()}
    kind = type(way_of(pattern))
    for name, counted in seen.items():
        _count(kind, name, counted, monkeypatch)
    goal = Goal(
        model="tiny",
        sparsity=0.5,
        pattern=pattern,
        calibration=Calibration(windows=4, length=64),
        evaluation=FEW,
        budget=Budget(candidates=12),
        recall=False,
    )
    run = create(tmp_path, goal)
    work(run)
    history = run.history()
    assert len(history.divergences) == 12
    measured = {history.candidates[name].recipe.id for name in history.divergences}
    for counted in seen.values():
        assert measured <= counted.keys()
        assert set(counted.values()) == {1}


def _count(kind: type, name: str, counted: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    work_of = getattr(kind, name)

    def watched(self: Any, held: Any, of: Any) -> Any:
        counted[getattr(of, "recipe", of).id] += 1
        return work_of(self, held, of)

    monkeypatch.setattr(kind, name, watched)
