"""What a plan says of minutes, memory, money and of bounds that failed before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.session.talk.known.estimate import estimate, finished, held, rate, work_of
from runs.goal import Budget, Goal
from runs.run import create

TINY = Goal(model="tiny", sparsity=0.5, budget=Budget(candidates=24))


def past(home: Path, story: Any, **changes: object) -> str:
    """A run of before: two candidates in 130 seconds, dense 22.8, result 41.9."""
    goal = TINY.model_copy(update=changes)
    run = create(home, goal)
    made = story(run=run.id, goal=goal).whole()
    for event in made.events:
        run.journal.append(event)
    return run.id


def test_a_run_of_the_same_model_tells_minutes(tmp_path: Path, new_story: Any) -> None:
    name = past(tmp_path, new_story)
    (_, history), *_ = finished(tmp_path)
    minutes = round(history.ledger.settled.minutes / 2 * 24)
    assert f"about {minutes} minutes (judged by run {name} of the same model)" in estimate(TINY, tmp_path)


def test_a_run_of_another_model_is_scaled_by_weights_and_tokens(tmp_path: Path, new_story: Any) -> None:
    name = past(tmp_path, new_story, model="other")
    told = estimate(TINY, tmp_path)
    assert f"judged by run {name} of other, by weights and tokens" in told
    assert "GB of memory, no money." in told


def test_without_any_run_a_matrix_product_tells(tmp_path: Path) -> None:
    assert "judged by a matrix product on this machine" in estimate(TINY, tmp_path)
    kept = list((tmp_path / "cache" / "speed").glob("*.json"))
    assert kept
    assert rate("cpu", tmp_path / "cache").operations > 0
    assert list((tmp_path / "cache" / "speed").glob("*.json")) == kept


def test_work_grows_with_weights_and_candidates() -> None:
    assert work_of(TINY, 2000, 10) == 2 * work_of(TINY, 1000, 10)
    assert work_of(TINY, 1000, 20) > work_of(TINY, 1000, 10)


def test_what_is_allowed_is_the_most(tmp_path: Path, new_story: Any) -> None:
    past(tmp_path, new_story)
    short = TINY.model_copy(update={"budget": Budget(candidates=2400, minutes=3)})
    assert "It takes 3 minutes, as you say; all candidates would take about" in estimate(short, tmp_path)
    timed = TINY.model_copy(update={"budget": Budget(minutes=3)})
    assert "It takes 3 minutes, as you say, and then" in estimate(timed, tmp_path)


@pytest.mark.parametrize(
    ("designer", "told"),
    [
        ("openai:gpt-4o-mini", "$0.15 a million read, $0.6 written"),
        ("openai:gpt-4o-mini,openai:gpt-4o", "$0.6 written) and openai:gpt-4o ($2.5 a million read"),
        ("openai:gpt-4o-mini,openai:new", "the price of openai:new is not known"),
        ("openai:mine", "the price of openai:mine is not known"),
    ],
)
def test_money_is_named(designer: str, told: str, tmp_path: Path) -> None:
    assert told in estimate(TINY.model_copy(update={"designer": designer}), tmp_path)


def test_where_a_bound_failed_the_highest_rate_that_held_is_offered(tmp_path: Path, new_story: Any) -> None:
    failed = past(tmp_path, new_story)
    asked = TINY.model_copy(update={"max_perplexity": 40.0, "sparsity": 0.6})
    assert held(TINY, finished(tmp_path)) == ""
    assert held(asked, finished(tmp_path)).startswith(f"In run {failed} 50 % did not keep")
    assert "no lower rate was tried" in held(asked, finished(tmp_path))
    mild = asked.model_copy(update={"max_perplexity": 42.0})
    assert held(mild, finished(tmp_path)) == ""
