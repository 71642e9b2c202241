"""The chain that a prompt is built on."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.prompts.chain import best_path, chain, contrast, draw_anchor, neighbours
from runs.fold.thoughts import Edge, Node, ThoughtGraph


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
