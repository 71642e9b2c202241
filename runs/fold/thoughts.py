"""The graph of thoughts (GCoT) of a run, as its history tells it.

Nodes are observations (from statistics), hypotheses, designs (candidates), outcomes (measurements) and lessons. Edges
say what supports or contradicts what, which design was derived from which (weighted by the measured change in fitness),
and which designs rank the model's weights alike. AutoPrune (arXiv 2511.15390) names the graph and does not define it;
this definition is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from runs.candidate import Candidate
from runs.fold.history import History
from tools.recipe.measurement import Measurement

NodeKind = Literal["observation", "hypothesis", "design", "outcome", "lesson"]
EdgeKind = Literal["supports", "contradicts", "derived-from", "similar-to"]

_KINDS: Mapping[str, NodeKind] = {"hypothesis": "hypothesis", "lesson": "lesson"}

SIMILAR = 0.9
"""Rank correlation from which two designs are joined by an edge; every correlation is in `ThoughtGraph.likeness`."""


@dataclass(frozen=True)
class Node:
    """`t-3` is a thought, `c-3` a design, `o-3` the outcome of that design."""

    id: str
    kind: NodeKind
    text: str
    generation: int


@dataclass(frozen=True)
class Edge:
    """From `source` to `target`; weights are KL saved (derived-from) or rank correlations (similar-to)."""

    source: str
    target: str
    kind: EdgeKind
    weight: float | None = None


@dataclass(frozen=True)
class ThoughtGraph:
    """All nodes in the order of their making, and the edges between them."""

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: tuple[Edge, ...] = ()
    likeness: dict[str, dict[str, float]] = field(default_factory=dict)
    """Design -> earlier design -> rank correlation of their metrics on the probe."""

    def leaving(self, name: str, kind: EdgeKind) -> list[Edge]:
        """Edges of a kind that begin at the node `name`."""
        return [edge for edge in self.edges if edge.source == name and edge.kind == kind]

    def reaching(self, name: str, kind: EdgeKind) -> list[Edge]:
        """Edges of a kind that end at the node `name`."""
        return [edge for edge in self.edges if edge.target == name and edge.kind == kind]

    def of_kind(self, kind: NodeKind) -> list[Node]:
        """Nodes of one kind, in the order of their making."""
        return [node for node in self.nodes.values() if node.kind == kind]


def thought_graph(history: History) -> ThoughtGraph:
    """The graph up to now; works at any moment of a run."""
    known = {node.id: node for node in _nodes(history)}
    edges = [edge for edge in _edges(history) if edge.source in known and edge.target in known]
    return ThoughtGraph(known, tuple(edges), dict(history.likened))


def gain(
    child: Candidate,
    parent: Candidate,
    divergences: Mapping[str, Mapping[int, Measurement]],
) -> float | None:
    """KL (nats per token) that the child saves against its parent over the most tokens that both were measured on.

    None where the two cannot be compared: no common fidelity, or only one of them is compensated, whose search form
    looks worse than what it becomes.
    """
    shared = divergences.get(child.id, {}).keys() & divergences.get(parent.id, {}).keys()
    if not shared or child.recipe.league != parent.recipe.league:
        return None
    tokens = max(shared)
    return divergences[parent.id][tokens].value - divergences[child.id][tokens].value


def gain_over_parent(
    child: Candidate, candidates: Mapping[str, Candidate], divergences: Mapping[str, Mapping[int, Measurement]]
) -> float | None:
    """The gain over the first parent; None where there is none or the two cannot be compared."""
    first = candidates.get(child.parents[0]) if child.parents else None
    return None if first is None else gain(child, first, divergences)


def _nodes(history: History) -> Iterator[Node]:
    for name, thought in history.thoughts.items():
        yield Node(name, _KINDS.get(thought.kind, "observation"), thought.text, thought.generation or 0)
    for candidate in history.candidates.values():
        text = f"{candidate.recipe}" + (f". {candidate.why}" if candidate.why else "")
        yield Node(candidate.id, "design", text, candidate.generation)
        if outcome := _outcome(history, candidate):
            yield Node(_outcome_id(candidate.id), "outcome", outcome, candidate.generation)


def _outcome(history: History, candidate: Candidate) -> str:
    if candidate.id in history.rejected:
        return f"rejected: {history.rejected[candidate.id]}"
    if not (found := history.divergences.get(candidate.id)):
        return ""
    tokens = max(found)
    text = f"KL {found[tokens].value:.4f} over {tokens:,} tokens"
    if (saved := _saved(history, candidate)) is not None:
        text += f", {abs(saved):.4f} {'less' if saved >= 0 else 'more'} than {candidate.parents[0]}"
    return text


def _saved(history: History, candidate: Candidate) -> float | None:
    return gain_over_parent(candidate, history.candidates, history.divergences)


def _edges(history: History) -> Iterator[Edge]:
    for name, thought in history.thoughts.items():
        yield from (Edge(name, target, "supports") for target in thought.supports)
        yield from (Edge(name, target, "contradicts") for target in thought.contradicts)
        yield from (Edge(name, target, "derived-from") for target in thought.about)
    for candidate in history.candidates.values():
        yield from _edges_of(history, candidate)


def _edges_of(history: History, candidate: Candidate) -> Iterator[Edge]:
    for parent in candidate.parents:
        other = history.candidates.get(parent)
        weight = None if other is None else gain(candidate, other, history.divergences)
        yield Edge(candidate.id, parent, "derived-from", weight)
    yield from (Edge(candidate.id, thought, "derived-from") for thought in candidate.thoughts)
    outcome, saved = _outcome_id(candidate.id), _saved(history, candidate)
    yield Edge(outcome, candidate.id, "derived-from")
    if saved:
        kind: EdgeKind = "supports" if saved > 0 else "contradicts"
        yield from (Edge(outcome, thought, kind, saved) for thought in candidate.thoughts)
    for other_id, correlation in history.likened.get(candidate.id, {}).items():
        if correlation >= SIMILAR:
            yield Edge(candidate.id, other_id, "similar-to", correlation)


def _outcome_id(candidate: str) -> str:
    return f"o-{candidate.removeprefix('c-')}"
