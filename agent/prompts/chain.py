"""The chain of thought that a prompt is built on, read off the thought graph.

An anchor drawn by rank, the line of ancestors that gained the most, a relative that got worse, the nearest designs and
the farthest one, and the lessons that hold. All functions are pure; chance comes from the `random.Random` handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from runs.fold.thoughts import Edge, ThoughtGraph

NEAR = 2


@dataclass(frozen=True)
class Chain:
    """Ids of designs; the prompt spells them out."""

    anchor: str
    path: tuple[str, ...]
    """From the oldest ancestor to the anchor."""
    contrast: Edge | None
    """The edit in this family that lost the most: child, parent and the KL it cost."""
    near: tuple[str, ...]
    far: str | None


def draw_anchor(ranked: Sequence[str], rng: Random) -> str:
    """One of the designs, best first, with chance proportional to 1 / (rank + N), rank from 1 (EoH's rule)."""
    weights = [1 / (place + len(ranked)) for place in range(1, len(ranked) + 1)]
    return rng.choices(list(ranked), weights)[0]


def chain(graph: ThoughtGraph, ranked: Sequence[str], rng: Random) -> Chain:
    """Build the chain on an anchor drawn from `ranked`: measured designs, best first, at least one."""
    anchor = draw_anchor(ranked, rng)
    path, _ = best_path(graph, anchor)
    near, far = neighbours(graph, anchor, ranked)
    return Chain(anchor, path, contrast(graph, path), near, far)


def best_path(graph: ThoughtGraph, design: str) -> tuple[tuple[str, ...], float]:
    """The line of ancestors with the largest summed gain, oldest first, and that sum (KL saved)."""
    best: dict[str, tuple[tuple[str, ...], float]] = {}
    for node in graph.of_kind("design"):  # parents come before their children
        lines: list[tuple[tuple[str, ...], float]] = [((node.id,), 0.0)]
        for edge in graph.leaving(node.id, "derived-from"):
            if edge.weight is not None and edge.target in best:
                line, saved = best[edge.target]
                lines.append(((*line, node.id), saved + edge.weight))
        best[node.id] = max(lines, key=lambda item: item[1])
    return best[design]


def contrast(graph: ThoughtGraph, path: Sequence[str]) -> Edge | None:
    """Among the children of the designs on the path, the edit that lost the most."""
    worse = [
        edge
        for design in path
        for edge in graph.reaching(design, "derived-from")
        if edge.weight is not None and edge.weight < 0
    ]
    return min(worse, key=lambda edge: edge.weight or 0.0, default=None)


def neighbours(graph: ThoughtGraph, design: str, among: Sequence[str]) -> tuple[tuple[str, ...], str | None]:
    """The designs whose metrics rank the weights most like this one's, and the one that ranks them least like it."""
    likeness = {
        other: value for other in among if other != design and (value := _likeness(graph, design, other)) is not None
    }
    order = sorted(likeness, key=lambda other: (-likeness[other], other))
    far = order[-1] if len(order) > NEAR else None
    return tuple(order[:NEAR]), far


def _likeness(graph: ThoughtGraph, one: str, other: str) -> float | None:
    """The correlation that was noted with whichever of the two came later."""
    return graph.likeness.get(one, {}).get(other, graph.likeness.get(other, {}).get(one))
