"""A step: what it takes as drafts, and what it knows as candidates."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.breeding.genes import Child
from agent.designer_tools.step import REFUSALS, Step
from runs.candidate import Candidate
from runs.fold.history import History
from tools.io.errors import UsageError
from tools.recipe import Recipe


class Picky:
    """Refuses what it was told of, as the screen does."""

    obedience = None

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def objection(self, recipe: Recipe) -> str | None:
        return f"chooses the same weights as {self.known[recipe.metric]}" if recipe.metric in self.known else None

    def admit(self, name: str, recipe: Recipe) -> None:
        self.known[recipe.metric] = name


def begun(wanted: int) -> Step:
    history = History()
    for name in ("c-1", "c-2"):
        history.candidates[name] = Candidate(id=name, recipe=Recipe(sparsity=0.5, metric="W"), operator="seed")
    history.rejected["c-2"] = "is not finite"
    situation: Any = SimpleNamespace(history=history)
    screen: Any = Picky()
    return Step(situation, screen, Path(), wanted)


def child(metric: str) -> Child:
    return Child(Recipe(sparsity=0.5, metric=metric), "propose metric", "because", ("c-1",))


def test_drafts_are_new_and_no_more_than_wanted() -> None:
    step = begun(wanted=2)
    assert step.take(child("W * X")).endswith("1 more wanted.")
    with pytest.raises(UsageError, match=r"the same weights as draft 1. Propose something else."):
        step.take(child("W * X"))
    assert not step.done
    assert step.take(child("W")).endswith("Call finish.")
    assert step.done
    with pytest.raises(UsageError, match="2 candidates are enough"):
        step.take(child("X"))
    assert [draft.recipe.metric for draft in step.drafts] == ["W * X", "W"]


def test_only_what_was_measured_is_a_candidate() -> None:
    step = begun(wanted=1)
    assert step.candidate("c-1").id == "c-1"
    for name in ("c-2", "c-3"):
        with pytest.raises(UsageError, match=f"{name} is not a measured candidate"):
            step.candidate(name)


def test_a_step_ends_by_refusals_and_may_be_ended_after_the_second() -> None:
    step = begun(wanted=1)
    step.refused = 1
    assert (step.may_finish, step.done) == (False, False)
    step.refused = 2
    assert (step.may_finish, step.done) == (True, False)
    step.refused = REFUSALS
    assert step.done
