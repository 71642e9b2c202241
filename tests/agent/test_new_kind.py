"""A new kind of pattern is one folder and one line of a table: a whole search of it runs, is saved and read back."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.engine import work
from runs.fold.summary import summary
from runs.goal import Budget, Evaluation, Goal, Size
from runs.run import create
from tools.recipe import Calibration, Recipe, parse_pattern
from tools.recipe.pattern import WAYS

FEW = Size(windows=2, length=64)


@pytest.fixture(autouse=True)
def _columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dict_of(WAYS), "columns", "tests.columns")


def dict_of(table: object) -> dict[str, str]:
    assert isinstance(table, dict)
    return table


def test_a_search_of_a_new_kind_ends_with_a_model_that_was_read_back(tmp_path: Path) -> None:
    goal = Goal(
        model="tiny",
        sparsity=0.3,
        pattern=parse_pattern("columns"),
        calibration=Calibration(windows=2, length=64),
        evaluation=Evaluation(search=FEW, selection=FEW, test=FEW),
        budget=Budget(candidates=6),
        recall=False,
    )
    run = create(tmp_path, goal)
    work(run)
    found = summary(run.history())
    assert {row.name for row in found.table} >= {"dense", "wanda", "magnitude"}
    assert found.winner is not None
    assert 0.3 <= found.winner.sparsity < 0.33
    assert found.verified is not None
    assert "sparsity as asked" in found.verified


def test_it_goes_through_json_and_back() -> None:
    recipe = Recipe(pattern=parse_pattern("columns"), sparsity=0.3, metric="W")
    again = Recipe.model_validate_json(recipe.model_dump_json())
    assert again == recipe
    assert type(again.pattern).__name__ == "Columns"
