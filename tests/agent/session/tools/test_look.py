"""What is known is told with ids, and rules before evidence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agent.principles import Principle, features
from agent.session.talk.known.lessons import advised
from agent.session.talk.session import Session
from agent.session.talk.tools.look import Lessons, Recall, Report, Thoughts
from memory.index import Memory
from memory.remembered import of_run
from runs.events import Thought
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


def test_the_report_is_written_and_concludes(session: Session, told: Callable[..., Run], story: Any) -> None:
    run = told(story.whole())
    said = Report().work(session)
    assert str(run.report_html) in said
    assert "c-2 beats every reference: perplexity 41.9 against 50.9" in said
    assert run.report_html.exists()
    run.report_html.write_text("kept")
    Report().work(session)
    assert run.report_html.read_text() == "kept"  # nothing happened since
