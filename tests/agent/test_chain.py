"""The chain that a prompt is built on, and principles over all candidates."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.chain import best_path, chain, contrast, draw_anchor, neighbours
from agent.principles import FEWEST, features, interval, principles
from runs.candidate import Candidate
from runs.fold.thoughts import Edge, Node, ThoughtGraph
from tools.recipe import Allocation, Compensation, Recipe, Unstructured


def graph(
    edges: dict[tuple[str, str], float | None], likeness: dict[str, dict[str, float]] | None = None
) -> ThoughtGraph:
    names = sorted({name for pair in edges for name in pair}, key=lambda name: int(name[2:]))
    nodes = {name: Node(name, "design", name, 0) for name in names}
    return ThoughtGraph(
        nodes, tuple(Edge(a, b, "derived-from", weight) for (a, b), weight in edges.items()), likeness or {}
    )


def test_the_path_with_the_largest_gain_is_walked() -> None:
    family = graph(
        {
            ("c-2", "c-1"): 0.1,
            ("c-3", "c-1"): -0.3,
            ("c-4", "c-2"): 0.05,
            ("c-4", "c-3"): 0.2,
            ("c-5", "c-4"): None,
            ("c-6", "c-4"): -0.5,
        }
    )
    assert best_path(family, "c-4") == (("c-3", "c-4"), pytest.approx(0.2))  # 0.2 alone beats 0.05 + 0.1
    assert best_path(family, "c-5") == (("c-5",), 0.0)  # not comparable with its parent
    assert best_path(family, "c-6") == (("c-6",), 0.0)  # every way there lost
    worst = contrast(family, ("c-3", "c-4"))
    assert worst is not None
    assert (worst.source, worst.target, worst.weight) == ("c-6", "c-4", -0.5)
    assert contrast(family, ("c-2",)) is None


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30), st.floats(-1, 1)), max_size=60))
def test_best_path_equals_trying_all_paths(raw: list[tuple[int, int, float]]) -> None:
    edges: dict[tuple[str, str], float | None] = {(f"c-{max(a, b)}", f"c-{min(a, b)}"): w for a, b, w in raw if a != b}
    edges = dict(list(edges.items())[:14])
    if not edges:
        return
    family = graph(edges)

    def plain(design: str) -> float:
        return max([0.0, *(plain(b) + (w or 0.0) for (a, b), w in edges.items() if a == design)])

    for name in family.nodes:
        path, saved = best_path(family, name)
        assert saved == pytest.approx(plain(name))
        assert path[-1] == name
        steps = [edges[child, parent] or 0.0 for parent, child in pairwise(path)]
        assert math.fsum(steps) == pytest.approx(saved)


def test_anchors_are_drawn_by_rank() -> None:
    rng = random.Random(0)
    drawn = Counter(draw_anchor(["a", "b", "c", "d"], rng) for _ in range(8000))
    total = sum(1 / (r + 4) for r in range(1, 5))
    for place, name in enumerate("abcd", 1):
        assert drawn[name] / 8000 == pytest.approx(1 / (place + 4) / total, abs=0.02)


def test_neighbours_are_the_nearest_and_the_farthest() -> None:
    family = graph({("c-2", "c-1"): 0.0, ("c-4", "c-3"): 0.0}, {"c-3": {"c-1": 0.2, "c-2": 0.9}, "c-4": {"c-3": 0.5}})
    assert neighbours(family, "c-3", ["c-1", "c-2", "c-3", "c-4"]) == (("c-2", "c-4"), "c-1")
    found = chain(family, ["c-3"], random.Random(1))
    assert (found.anchor, found.path, found.far) == ("c-3", ("c-3",), None)


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
