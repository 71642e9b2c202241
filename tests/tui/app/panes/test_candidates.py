"""What the table of candidates tells of a recipe."""

from __future__ import annotations

from runs.fold.summary import describe
from tools.prune.experts_and_width.pattern import ExpertsAndWidth
from tools.recipe import Recipe
from tools.recipe.methods import method
from tui.app.panes.candidates import Row


def told(recipe: Recipe) -> tuple[str, ...]:
    return Row("c-1", False, None, 0, True, None, None, recipe).cells[4:]


def test_where_experts_and_width_fall_their_split_is_told() -> None:
    half = method("wanda", 0.3, ExpertsAndWidth())
    assert told(half) == ("W * X", "50 % of it experts by REAP, uniform", "")
    assert describe(half) == "50 % of it experts by REAP, W * X"
    alone = method("frequency", 0.3, ExpertsAndWidth())
    assert told(alone)[1] == "experts alone by frequency, uniform"
    assert describe(alone) == "experts alone by frequency"
    assert told(method("wanda", 0.3)) == ("W * X", "uniform", "")
