"""What a run took, what it made of each block, and its end; what is explained without measuring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agent.session.talk.known import advice
from agent.session.talk.session import Session
from agent.session.talk.tools.account import RemoveRun, Sparsities, Spent, _zeros
from agent.session.talk.tools.explain import Explain, subjects
from agent.session.talk.tools.model import ModelFacts
from runs.run import Run
from tools.io.errors import SecateurError, UsageError
from tools.recipe.methods import METHODS


def test_what_was_spent_is_told_and_what_is_left_only_where_it_is_known(
    session: Session, told: Callable[..., Run], story: Any
) -> None:
    with pytest.raises(SecateurError, match="No run is open"):
        Spent().work(session)
    run = told(story.start())
    assert f"Run {run.id} so far: " in Spent().work(session)
    assert "0 candidates" in Spent().work(session)
    assert Spent().work(session).endswith("Nothing is at work on it now.")
    with run.lock():
        assert "cannot be told now" in Spent().work(session)


def test_no_block_has_a_sparsity_before_one_is_measured(session: Session, told: Callable[..., Run], story: Any) -> None:
    told(story.start())
    assert "Nothing is measured yet" in Sparsities().work(session)
    assert "is not known" in Sparsities(candidate="c-3").work(session)


def test_a_result_that_was_made_at_the_end_has_the_sparsity_that_was_measured_of_it(
    session: Session, told: Callable[..., Run], story: Any
) -> None:
    run = told(story.start().propose("c-1", "W * X").measure("c-1", 1.0).final("c-4", 41.9, "W * X").finish("c-4"))
    assert Sparsities().work(session) == f"Measured sparsity of c-4 by block (run {run.id}):\n  0: q 40.0 %, k 60.0 %"


def test_matrices_of_a_block_are_told_alone_where_they_are_few_and_differ() -> None:
    even = {f"model.layers.{block}.mlp.{role}_proj": 0.5 for block in (0, 1) for role in ("up", "down")}
    assert _zeros(even) == "  0: 50.0 %\n  1: 50.0 %"
    many = {f"model.layers.3.mlp.experts.{expert}.up": expert / 20 for expert in range(10)}
    assert _zeros(many) == "  3: 0.0 % to 45.0 % of 10 matrices"


def test_a_run_is_removed_after_a_plan_and_not_while_it_works(
    session: Session, told: Callable[..., Run], story: Any
) -> None:
    run = told(story.start())
    with run.lock(), pytest.raises(UsageError, match='say "stop" first'):
        RemoveRun().plan(session)
    with pytest.raises(UsageError, match="is not known"):
        RemoveRun(run="bold-owl-99").plan(session)
    plan = RemoveRun(run=run.id).plan(session)
    assert run.id in plan
    assert "cannot be undone" in plan
    assert RemoveRun().work(session) == f"Run {run.id} is deleted."
    assert not run.folder.exists()
    assert session.run is None


def test_all_runs_are_removed_after_a_plan_that_counts_them(
    session: Session, told: Callable[..., Run], story: Any
) -> None:
    with pytest.raises(UsageError, match="There are no runs"):
        RemoveRun(run="all").plan(session)
    first, second = told(story.start()), told(story)
    with second.lock(), pytest.raises(UsageError, match=f"Run {second.id} is at work"):
        RemoveRun(run="all").plan(session)
    plan = RemoveRun(run="all").plan(session)
    assert plan.startswith("Plan: delete all 2 runs (")
    assert first.id in plan
    assert second.id in plan
    assert RemoveRun(run="all").work(session) == "All 2 runs are deleted."
    assert not first.folder.exists()
    assert not second.folder.exists()
    assert session.run is None


def test_the_pruned_model_is_told_before_the_one_it_was_made_of(session: Session, pruned: Run) -> None:
    told = ModelFacts().work(session)
    assert told.startswith(str(pruned.model_folder))
    assert "It was made of:\ntiny: " in told.replace(pruned.goal.model, "tiny")


def test_a_reference_that_was_not_measured_is_said_to_be_unknown(
    session: Session, told: Callable[..., Run], story: Any
) -> None:
    told(story.start())
    assert "not measured yet" in advice.against(session.history(), "wanda")
    assert advice.against(session.history(), "owl").startswith("owl was not measured in run ")


def test_every_method_but_the_plainest_is_explained(session: Session) -> None:
    assert set(METHODS) - subjects().keys() == {"frequency"}
    assert "W * X" in Explain(subject="wanda").work(session)
    assert "in English only" in Explain(subject="n:m", language="de").work(session)
    with pytest.raises(ValueError, match="cannot be explained here"):
        Explain(subject="weather")
