"""Answers from what was measured."""

from __future__ import annotations

from typing import Any

from agent.session.talk.known import advice
from memory.remembered import of_run
from runs.fold.history import History
from tools.recipe import NM


def test_a_candidate_is_explained_with_its_numbers(story: Any) -> None:
    events = story.whole().events
    told = advice.about(History.of(events), ["c-2", "c-3"])
    assert "c-2 is sqr(W) * X" in told
    assert "KL 0.9000 over 16,384 tokens" in told
    assert "c-3" in told
    assert "rejected: duplicate of c-1" in told
    assert "they are c-1 to c-3" in advice.about(History.of(events), ["c-9"])


def test_advice_on_a_pattern_comes_from_measurements_or_says_there_are_none(story: Any) -> None:
    events = story.whole().events
    assert "Nothing with 2:4 was measured yet" in advice.about_pattern("2:4", History.of(events), [])
    known = of_run(History.of(events))[0]
    recipe = known.recipe.model_copy(update={"pattern": NM(n=2, m=4)})
    past = known.model_copy(
        update={"recipe": type(known.recipe).model_validate(recipe.model_dump()), "perplexity": 93.2}
    )
    told = advice.about_pattern("2:4", History.of(events), [past])
    assert past.id in told
    assert "perplexity 93.2" in told


def test_how_it_stands_is_told_with_ids(story: Any) -> None:
    assert advice.standing(History()) == "Nothing is measured yet."
    told = advice.standing(History.of(story.whole().events))
    assert told.startswith("c-2 beats every reference"), "what won comes before what led the search"
    assert "2 candidates are measured in the search, the best first, those over more tokens before others:" in told
    assert "c-2: KL 0.900" in told
    searched = type(story)().start().propose("c-1", "W * X").measure("c-1", 1.0)
    assert advice.standing(History.of(searched.events)).startswith(
        "1 candidate is measured in the search, the best first:"
    )
    assert "takes more candidates" in advice.lessons(History.of(story.events))


def test_two_candidates_are_compared_in_what_differs(story: Any) -> None:
    history = History.of(story.whole().events)
    told = advice.compare(history, "c-1", "c-2")
    assert "  metric: c-1 has W * X, c-2 has sqr(W) * X" in told
    assert "is better, " in told
    assert "sparsity" not in told
    assert "c-9 is not a candidate" in advice.compare(history, "c-1", "c-9")
    assert "neither is known to be better" in advice.compare(history, "c-1", "c-3")
