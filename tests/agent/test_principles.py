"""Principles over all candidates: what goes with fitness, and how sure that is."""

from __future__ import annotations

import math
import random

import pytest

from agent.principles import FEWEST, features, interval, principles
from runs.candidate import Candidate
from tools.recipe import Allocation, Compensation, Recipe, Unstructured


def candidates(recipes: list[Recipe]) -> list[Candidate]:
    return [Candidate(id=f"c-{i}", recipe=recipe, operator="seed") for i, recipe in enumerate(recipes, 1)]


def test_what_goes_with_fitness_is_found_and_what_does_not_is_not() -> None:
    made = [
        Recipe(
            sparsity=0.5,
            metric="W * X" if i % 2 else "W",
            allocation=Allocation(expression="skew", width=0.01 + 0.01 * ((i * 7) % 12)),
        )
        for i in range(12)
    ]
    fitness = {f"c-{i}": (0.5 if made[i - 1].metric == "W * X" else 0.7) + 0.001 * i for i in range(1, 13)}
    found = {p.feature: p for p in principles(candidates(made), fitness, {})}
    assert found["X in the metric"].correlation < -0.8
    assert found["X in the metric"].high < 0
    assert "goes with lower KL" in found["X in the metric"].text
    assert "width of the allocation" not in found
    assert "W in the metric" not in found  # all have it


def test_compensated_candidates_are_ranked_among_themselves() -> None:
    """OBS looks worse in the search form: that alone must not become a lesson."""
    plain = [
        Recipe(sparsity=0.5, metric="W * X", allocation=Allocation(expression="skew", width=0.01 * i))
        for i in range(1, 7)
    ]
    both = plain + [r.model_copy(update={"compensation": Compensation(kind="obs")}) for r in plain]
    fitness = {f"c-{i}": 0.5 + 0.01 * i + (10.0 if i > 6 else 0.0) for i in range(1, 13)}
    found = {p.feature: p for p in principles(candidates(both), fitness, {})}
    assert found["width of the allocation"].correlation == pytest.approx(1.0)
    assert set(found) == {"width of the allocation"}


def test_a_few_candidates_teach_nothing() -> None:
    made = candidates([Recipe(sparsity=0.5, metric="W" if i % 2 else "W * X") for i in range(FEWEST - 1)])
    assert principles(made, {c.id: float(i % 2) for i, c in enumerate(made)}, {}) == []


def test_rates_and_groups_are_features() -> None:
    recipe = Recipe(sparsity=0.5, metric="sqr(W) / D", pattern=Unstructured(group="matrix"))
    found = features(recipe, (0.3, 0.5, 0.5, 0.5, 0.6, 0.6))
    assert found["sparsity of the first block"] == 0.3
    assert found["sparsity of the first third"] == pytest.approx(0.4)
    assert found["sparsity of the last third"] == pytest.approx(0.6)
    assert found["weights compete within the matrix"] == 1.0
    assert {"W in the metric", "D in the metric", "sqr in the metric", "/ in the metric"} <= found.keys()


def test_the_interval_covers_as_often_as_it_says() -> None:
    from scipy.stats import norm, spearmanr

    rng = random.Random(3)
    hits = 0
    for _ in range(400):
        x = [rng.gauss(0, 1) for _ in range(30)]
        y = [0.6 * a + 0.8 * rng.gauss(0, 1) for a in x]
        low, high = interval(float(spearmanr(x, y).statistic), 30)
        truth = 6 / math.pi * math.asin(0.6 / 2)  # Spearman of a bivariate normal with correlation 0.6
        hits += low <= truth <= high
    assert 0.91 <= hits / 400 <= 0.98
    assert norm.ppf(0.975) == pytest.approx(1.96, abs=1e-3)
