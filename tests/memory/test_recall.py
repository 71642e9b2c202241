from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from memory.fingerprint import model_vector
from memory.recall import rank
from memory.remembered import Remembered, of_run
from runs.fold.history import History
from tools.recipe import NM, Compensation, Structured, Unstructured

SKEW = (2.2, 1.4, 1.5, 1.3)
MODEL = model_vector({"skew": SKEW, "redundancy": [0.1 * i for i in range(4)]})


def memory(new_story: Any, metric: str, value: float, run: str = "calm-heron-7", skew: Any = SKEW) -> Remembered:
    story = new_story(run=run).start().survey(skew).reference("wanda", 1.0)
    (found,) = of_run(History.of(story.propose("c-1", metric).measure("c-1", value).events))
    return found


def ranked(memories: list[Remembered], k: int = 5, pattern: Any = None, sparsity: float = 0.5) -> list[str]:
    found = rank(memories, MODEL, pattern or Unstructured(), sparsity, k)
    return [item.memory.recipe.metric for item in found]


def test_what_won_on_the_same_model_comes_first(new_story: Any) -> None:
    memories = [
        memory(new_story, "W", 1.4),
        memory(new_story, "W * X", 0.7),
        memory(new_story, "sqr(W)", 0.7, skew=(2.0, 1.6, 1.4, 1.3)),
    ]
    assert ranked(memories) == ["W * X", "sqr(W)", "W"]
    assert ranked(memories, k=1) == ["W * X"]
    assert ranked([]) == []
    same = rank(memories, MODEL, Unstructured(), 0.5, 3)
    assert same[0].similarity == pytest.approx(1.0)
    assert 0.7 < same[1].similarity < 1.0


def test_near_duplicates_are_recalled_once_and_the_best_of_them(new_story: Any) -> None:
    memories = [
        memory(new_story, f"W * X ** 0.{digits}", 0.9 - digits / 1000, run=f"r-{digits}") for digits in range(90)
    ]
    memories.append(memory(new_story, "sqr(W)", 1.2))
    assert ranked(memories) == ["W * X ** 0.89", "sqr(W)"]


def test_another_pattern_or_sparsity_is_farther(new_story: Any) -> None:
    here = memory(new_story, "W * X", 0.7)

    def similarity(pattern: Any, sparsity: float) -> float:
        return rank([here], MODEL, pattern, sparsity, 1)[0].similarity

    ladder = [
        similarity(Unstructured(), 0.5),
        similarity(Unstructured(group="matrix"), 0.5),
        similarity(NM(n=2, m=4), 0.5),
        similarity(NM(n=1, m=4), 0.75),
    ]
    assert ladder == sorted(ladder, reverse=True)
    assert len(set(ladder)) == 4
    assert similarity(Unstructured(), 0.6) == similarity(Unstructured(), 0.4)


def test_what_falls_as_a_whole_says_nothing_of_single_weights(new_story: Any) -> None:
    weights = memory(new_story, "W * X", 0.9)
    recipe = weights.recipe.model_copy(
        update={"metric": "sqr(W)", "pattern": Structured(kind="width"), "compensation": Compensation()}
    )
    structures = weights.model_copy(update={"recipe": recipe, "id": "r/c-2", "divergence": 0.1})
    assert ranked([weights, structures]) == ["W * X"]
    assert ranked([weights, structures], pattern=NM(n=2, m=4)) == ["W * X"]
    assert ranked([weights, structures], pattern=Structured(kind="depth")) == ["sqr(W)"]


def test_ranking_equals_a_plain_computation(new_story: Any) -> None:
    rng = np.random.default_rng(0)
    memories = [
        memory(new_story, metric, float(rng.uniform(0.5, 1.5)), skew=tuple(rng.uniform(1, 2, 4)))
        for metric in ("W", "W * X", "sqr(W)", "W + G", "exp(W)", "W / D")
    ]

    def worth(item: Remembered) -> float:
        vector = np.array(item.model_vector)
        similarity = vector @ MODEL / np.linalg.norm(vector) / np.linalg.norm(MODEL)
        return max(0.0, similarity) / item.divergence

    expected = [item.recipe.metric for item in sorted(memories, key=worth, reverse=True)]
    assert ranked(memories, k=6) == expected
