from __future__ import annotations

from typing import Any

import pytest

from memory.remembered import of_run
from runs.fold.history import History


def test_a_run_becomes_its_measured_candidates(story: Any) -> None:
    first, second = of_run(History.of(story.whole().events))
    assert (first.id, first.divergence, first.tokens) == ("calm-heron-7/c-1", 1.0, 2048)
    assert (first.reference, first.relative) == (1.0, 1.0)
    assert (second.id, second.divergence, second.tokens) == ("calm-heron-7/c-2", 0.9, 16384)
    assert first.perplexity is None
    assert (second.perplexity, second.dense_perplexity, second.reference_perplexity) == (41.9, 22.8, 50.9)
    assert second.fingerprint == "f00d"
    assert second.recipe.metric == "sqr(W) * X"


def test_numbers_of_another_protocol_are_not_compared(story: Any) -> None:
    story.start().survey().reference("wanda", 1.0, tokens=2048)
    story.propose("c-1", "W").measure("c-1", 0.5, tokens=16384)
    (memory,) = of_run(History.of(story.events))
    assert memory.reference is None
    assert memory.relative is None
    story.reference("wanda", 2.0, tokens=16384).reference("ria", 1.0, tokens=16384)
    (memory,) = of_run(History.of(story.events))
    assert memory.relative == pytest.approx(0.5)


def test_a_winner_that_only_has_its_final_form_is_remembered_too(story: Any) -> None:
    story.start().survey().propose("c-1", "W").propose("c-2", "W * X")
    story.final("dense", 20.0, None, 0.0).final("wanda", 50.0, "W * X").final("c-2", 40.0, "W * X")
    (memory,) = of_run(History.of(story.events))
    assert (memory.id, memory.divergence, memory.relative) == ("calm-heron-7/c-2", None, 0.8)


def test_nothing_is_remembered_before_the_survey(story: Any) -> None:
    assert of_run(History()) == []
    assert of_run(History.of(story.start().propose("c-1", "W").measure("c-1", 1.0).events)) == []
