from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runs.budget import Budget, BudgetSpent
from runs.events import Answered, Extended, Note, Replied, RunFinished, RunInterrupted, RunStarted, Said
from runs.fold.history import History
from runs.goal import Goal
from tools.io.errors import UsageError
from tools.recipe import NM, Recipe

RECIPE = Recipe(metric="W", sparsity=0.5)


@pytest.mark.parametrize("sparsity", [0.0, 1.0, 1.5, -0.1, float("nan"), float("inf")])
def test_a_sparsity_that_removes_none_or_all_is_refused(sparsity: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        Goal.of(model="tiny", sparsity=sparsity)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sparsity": "half"}, "sparsity"),
        ({"sparsity": 0.6, "pattern": NM(n=2, m=4)}, "2:4 means sparsity 0.5"),
        ({"sparsity": 0.5, "method": "wanda", "recipe": RECIPE}, "a method and a recipe"),
        ({"sparsity": 0.5, "budget": {"candidates": 0}}, r"budget\.candidates"),
        ({"sparsity": 0.5, "budget": {"minutes": -1}}, r"budget\.minutes"),
        ({"sparsity": 0.5, "max_perplexity_rise": 0}, "max_perplexity_rise"),
        ({"sparsity": 0.5, "modle": "x"}, "modle"),
        ({"sparsity": 0.5, "model": ""}, "model"),
    ],
)
def test_a_goal_that_cannot_be_meant_is_one_line(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        Goal.of(**{"model": "tiny", **fields})
    assert "\n" not in str(caught.value)


def test_a_goal_comes_back_from_json() -> None:
    goal = Goal(model="tiny", sparsity=0.75, pattern=NM(n=1, m=4), budget=Budget(candidates=3), seed=9)
    assert Goal.model_validate_json(goal.model_dump_json()) == goal
    assert str(goal) == "tiny → 75 % 1:4"
    assert goal.searches


def test_measured_and_failed_candidates_are_charged_once_and_screened_ones_are_free(story: Any) -> None:
    story.start().measure("c-1", 1.0).measure("c-1", 1.0, tokens=16384)
    story.reject("c-2", "NaN", measured=True).reject("c-3", "duplicate")
    history = History.of(story.events, Budget(candidates=3))
    assert history.ledger.spent.candidates == 2
    history.ledger.check()
    history.observe(story.measure("c-4", 1.0).events[-1])
    with pytest.raises(BudgetSpent, match="budget of 3 candidates is spent") as caught:
        history.ledger.check()
    assert caught.value.limit == "candidates"
    assert caught.value.spent.candidates == 3


def test_a_resumed_run_goes_on_with_what_was_spent_and_the_pause_is_free(story: Any) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    started = story.start().events[0]
    hour = timedelta(hours=1)
    killed = [
        started.model_copy(update={"at": start}),
        Note(at=start + timedelta(minutes=2), text="then killed"),
        started.model_copy(update={"at": start + hour}),
        Answered(at=start + hour + timedelta(minutes=1), call="1/design/1", tokens_in=60, tokens_out=40, money=0.5),
        RunInterrupted(at=start + hour + timedelta(minutes=2)),
    ]
    history = History.of(killed, Budget(minutes=5, tokens=100))
    assert history.ledger.spent.minutes == pytest.approx(4)
    with pytest.raises(BudgetSpent, match="100 tokens"):
        history.ledger.check()
    history.observe(RunStarted(**{**dict(started), "at": datetime.now(UTC) - timedelta(minutes=2)}))
    assert history.ledger.spent.minutes == pytest.approx(6, abs=0.01)
    assert history.ledger.settled.minutes == pytest.approx(4)


def test_time_stands_still_after_the_end(story: Any) -> None:
    story.start()
    long_ago = story.at()
    history = History()
    for event in [*story.events, RunFinished(at=long_ago, best=None, summary="")]:
        history.observe(event)
    history.ledger.asked = Budget(minutes=1)
    assert history.ledger.spent.minutes == pytest.approx(10 / 60)
    history.ledger.check()


def test_talk_about_a_run_that_rests_is_free(story: Any) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    hour = timedelta(hours=1)
    killed = Note(at=start + timedelta(minutes=2), text="then killed")
    talk = [Said(at=start + hour, text="explain c-3"), Replied(at=start + hour, text="c-3 is W * X")]
    more = [Said(at=start + 2 * hour, text="go on"), Extended(at=start + 2 * hour, minutes=1)]
    again = story.start().events[0].model_copy(update={"at": start + 3 * hour})
    over = RunInterrupted(at=start + 3 * hour + timedelta(minutes=1))
    began = again.model_copy(update={"at": start})
    assert History.of([began, killed, *talk, *more, again, over]).ledger.spent.minutes == pytest.approx(3)


def test_a_limit_that_is_not_asked_for_hides_no_other(story: Any) -> None:
    history = History.of(story.start().measure("c-1", 1.0).events, Budget(candidates=1, tokens=10))
    history.ledger.check(("minutes", "tokens", "money"))
    history.observe(Answered(call="1/design/1", tokens_in=6, tokens_out=5))
    with pytest.raises(BudgetSpent, match="10 tokens"):
        history.ledger.check(("minutes", "tokens", "money"))


def test_no_limit_is_never_reached(story: Any) -> None:
    History.of(story.whole().events).ledger.check()


def test_more_is_allowed_beyond_what_is_spent_and_other_limits_stay(story: Any) -> None:
    story.goal = Goal(model="tiny", sparsity=0.5, budget=Budget(candidates=2, minutes=1, tokens=10))
    story.whole()
    spent = History.of(story.events).ledger.spent
    extended = History.of([*story.events, Extended(at=story.at(), minutes=5)])
    assert extended.ledger.budget == Budget(minutes=spent.minutes + 5, tokens=10)
    # The engine that goes on says its goal again, which does not take back what was allowed.
    again = story.events[0].model_copy(update={"at": story.at()})
    extended.observe(again)
    assert extended.ledger.budget == Budget(minutes=spent.minutes + 5, tokens=10)
    counted = History.of([*story.events, Extended(at=story.at(), candidates=3), again])
    assert counted.ledger.budget == Budget(candidates=2 + 3, tokens=10)
