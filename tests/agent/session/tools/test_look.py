"""What is known is told with ids, and rules before evidence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agent.principles import Principle, features
from agent.session.talk.known.lessons import advised
from agent.session.talk.session import Session
from agent.session.talk.tools.look import Compare, Happened, Lessons, Recall, Report, Thoughts, Uses, WhyWon
from memory.index import Memory
from memory.remembered import of_run
from runs.events import RunFailed, Stage, Thought
from runs.run import Run
from tools.io.errors import SecateurError
from tools.recipe import Allocation, Recipe


def lesson(name: str, feature: str, correlation: float) -> Thought:
    text = Principle(feature, correlation, correlation - 0.1, correlation + 0.1, 12).text
    return Thought(id=name, kind="lesson", text=text, topic=feature, about=("c-1",), generation=1)


def test_lessons_say_what_to_do_and_then_why(session: Session, told: Callable[..., Run], story: Any) -> None:
    story.start().survey().propose("c-1", "W * X").measure("c-1", 1.0)
    story.events += [
        lesson("t-1", "X in the metric", 0.5),
        lesson("t-2", "sparsity of the first block", 0.6),
        lesson("t-3", "X in the metric", -0.5),
    ]
    told(story)
    said = Lessons().work(session)
    assert "  Prefer metrics with X (norm of the input channel: sqrt(sum x^2 / windows)).\n    Evidence: t-3: " in said
    assert "  Spare the first block.\n    Evidence: t-2: " in said
    assert "t-1" not in said  # t-3 replaced it


def test_every_feature_of_recipes_has_a_rule() -> None:
    recipe = Recipe(metric="sqr(W) * X", sparsity=0.5, allocation=Allocation(expression="-outliers(5)", width=0.1))
    for feature in features(recipe, (0.5,) * 6):
        more, less = advised(feature, better=True), advised(feature, better=False)
        assert more != less
        assert more != f"more {feature}", feature


def test_thoughts_are_found_by_words_and_say_what_they_rest_on(
    session: Session, told: Callable[..., Run], story: Any
) -> None:
    with pytest.raises(SecateurError, match="No run is open"):
        Thoughts().work(session)
    story.start().survey()
    story.events.append(Thought(id="t-1", kind="hypothesis", text="norms matter", generation=0))
    story.propose("c-1", "W * X", thoughts=("t-1",)).measure("c-1", 1.0)
    told(story)
    assert Thoughts().work(session) == "  t-1 (hypothesis, generation 0): norms matter"
    assert "c-1 (design, generation 0): " in Thoughts(words="c-1 design").work(session)
    assert "[derived from t-1]" in Thoughts(words="c-1 design").work(session)
    assert "No thought of this run names" in Thoughts(words="zebra").work(session)


def test_memory_is_searched_by_words(session: Session, story: Any) -> None:
    from runs.fold.history import History

    assert "Memory is empty" in Recall().work(session)
    Memory(session.settings.home).upsert(of_run(History.of(story.whole().events)))
    said = Recall(words="tiny sqr").work(session)
    assert said.startswith("1 memories")
    assert "calm-heron-7/c-2 on tiny: " in said
    assert "perplexity 41.9" in said
    assert 'nothing that names "gemma"' in Recall(words="gemma").work(session)


def test_why_one_won_is_told_by_what_was_measured(session: Session, told: Callable[..., Run], story: Any) -> None:
    told(story.whole())
    won = WhyWon(name="c-2").work(session)
    assert won.startswith("c-2 won. In the search: KL 0.900 over 16,384 tokens, place 1 of 1.")
    assert "c-2 beats every reference: perplexity 41.9 against 50.9" in won
    lost = WhyWon(name="c-1").work(session)
    assert lost.startswith("c-1 did not win: the result is c-2. KL 1.00 and 0.800 over 2,048 tokens: c-2 is better")
    assert WhyWon(name="c-9").work(session).startswith("c-9 is not a candidate of this run")


def test_nobody_has_won_a_run_without_a_result(session: Session, told: Callable[..., Run], story: Any) -> None:
    run = told(story.start().survey().propose("c-1", "W * X").measure("c-1", 1.0))
    said = WhyWon(name="c-1").work(session)
    assert said.startswith(f"c-1 has not won: run {run.id} has no result yet. c-1 leads so far: KL 1.00")


def test_what_was_used_is_counted(session: Session, told: Callable[..., Run], story: Any) -> None:
    with pytest.raises(SecateurError, match="No run is open"):
        Uses(method="obs").work(session)
    told(story.whole())
    assert Uses(method="obs").work(session) == (
        "OBS (compensation): 2 of 2 measured candidates use it, c-1, c-2. The winner, c-2, does."
    )
    assert Uses(method="wanda").work(session) == (
        "wanda (metric W * X): 1 of 2 measured candidates use it, c-1. wanda was measured beside them as a reference. "
        "The winner, c-2, does not."
    )
    assert "owl (allocation): none of 2 measured candidates uses it." in Uses(method="owl").work(session)
    assert "cannot be told" in Uses(method="shortgpt").work(session)


def test_a_candidate_is_compared_with_a_reference(session: Session, told: Callable[..., Run], story: Any) -> None:
    told(story.whole())
    said = Compare(one="c-2", other="wanda").work(session)
    assert "c-2 is sqr(W) * X, OBS, wanda is wanda, OBS." in said
    assert "KL 0.800 and 1.00 over 2,048 tokens: c-2 is better, its divergence is 20.0 % lower." in said
    assert "In their final forms: perplexity 41.9 of c-2 and 50.9 of wanda on the test text." in said
    assert "sparsegpt was not measured in run" in Compare(one="c-2", other="sparsegpt").work(session)


def test_what_happened_is_told_from_the_journal(session: Session, told: Callable[..., Run], story: Any) -> None:
    assert "there is no run yet" in Happened().work(session)
    story.start().survey().propose("c-1", "W * X").measure("c-1", 1.0)
    story.events.append(Stage(at=story.at(), name="search"))
    killed = told(story)
    said = Happened().work(session)
    assert said.startswith(f"Run {killed.id} (tiny → 50 % unstructured) broke off without a word at the stage search, ")
    assert "after 1 candidates were measured" in said
    assert f'"resume {killed.id}" goes on where it stopped.' in said
    story.events.append(RunFailed(at=story.at(), reason="the disk is full"))
    failed = told(story)
    assert "at the stage search, after 1 candidates were measured: the disk is full. " in Happened().work(session)
    session.run = None
    assert failed.id in Happened().work(session)  # the newest one


def test_a_run_that_ended_well_says_so(session: Session, told: Callable[..., Run], story: Any) -> None:
    told(story.whole())
    said = Happened().work(session)
    assert "came to its end on 20" in said
    assert "c-2 beats every reference" in said


def test_the_report_is_written_and_concludes(session: Session, told: Callable[..., Run], story: Any) -> None:
    run = told(story.whole())
    said = Report().work(session)
    assert str(run.report_html) in said
    assert "c-2 beats every reference: perplexity 41.9 against 50.9" in said
    assert run.report_html.exists()
    run.report_html.write_text("kept")
    Report().work(session)
    assert run.report_html.read_text() == "kept"  # nothing happened since
