"""The graph of thoughts (GCoT) of a run: a fold over its journal, and how it is drawn.

Nodes are observations (from statistics), hypotheses, designs (candidates), outcomes (measurements) and lessons. Edges
say what supports or contradicts what, which design was derived from which (weighted by the measured change in fitness),
and which designs rank the model's weights alike. AutoPrune (arXiv 2511.15390) names the graph and does not define it;
this definition is ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from runs.candidate import Candidate
from runs.events import CandidateMeasured, CandidateProposed, CandidateRejected, Event, Likened, Thought
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
        return [edge for edge in self.edges if edge.source == name and edge.kind == kind]

    def reaching(self, name: str, kind: EdgeKind) -> list[Edge]:
        return [edge for edge in self.edges if edge.target == name and edge.kind == kind]

    def of_kind(self, kind: NodeKind) -> list[Node]:
        return [node for node in self.nodes.values() if node.kind == kind]


def thought_graph(events: Iterable[Event]) -> ThoughtGraph:
    """Fold a journal into its graph of thoughts; works at any moment of a run."""
    found = _Fold()
    for event in events:
        found.observe(event)
    return found.graph()


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


class _Fold:
    def __init__(self) -> None:
        self.thoughts: dict[str, Thought] = {}
        self.candidates: dict[str, Candidate] = {}
        self.divergences: dict[str, dict[int, Measurement]] = {}
        self.rejected: dict[str, str] = {}
        self.likeness: dict[str, dict[str, float]] = {}

    def observe(self, event: Event) -> None:
        match event:
            case Thought(id=name):
                self.thoughts[name or f"t-{len(self.thoughts) + 1}"] = event
            case CandidateProposed(candidate=candidate):
                self.candidates[candidate.id] = candidate
            case CandidateMeasured(candidate_id=name, measurement=m) if m.kind == "divergence":
                self.divergences.setdefault(name, {})[m.tokens] = m
            case CandidateRejected(candidate_id=name, reason=reason):
                self.rejected[name] = reason
            case Likened(candidate_id=name, correlations=correlations):
                self.likeness[name] = dict(correlations)
            case _:
                pass

    def graph(self) -> ThoughtGraph:
        nodes = list(self._nodes())
        known = {node.id: node for node in nodes}
        edges = [edge for edge in self._edges() if edge.source in known and edge.target in known]
        return ThoughtGraph(known, tuple(edges), self.likeness)

    def _nodes(self) -> Iterator[Node]:
        for name, thought in self.thoughts.items():
            yield Node(name, _KINDS.get(thought.kind, "observation"), thought.text, thought.generation or 0)
        for candidate in self.candidates.values():
            text = f"{candidate.recipe}" + (f". {candidate.why}" if candidate.why else "")
            yield Node(candidate.id, "design", text, candidate.generation)
            if outcome := self._outcome(candidate):
                yield Node(_outcome_id(candidate.id), "outcome", outcome, candidate.generation)

    def _outcome(self, candidate: Candidate) -> str:
        if candidate.id in self.rejected:
            return f"rejected: {self.rejected[candidate.id]}"
        if not (found := self.divergences.get(candidate.id)):
            return ""
        tokens = max(found)
        text = f"KL {found[tokens].value:.4f} over {tokens:,} tokens"
        if (saved := self._gain(candidate)) is not None:
            text += f", {abs(saved):.4f} {'less' if saved >= 0 else 'more'} than {candidate.parents[0]}"
        return text

    def _gain(self, candidate: Candidate) -> float | None:
        return gain_over_parent(candidate, self.candidates, self.divergences)

    def _edges(self) -> Iterator[Edge]:
        for name, thought in self.thoughts.items():
            yield from (Edge(name, target, "supports") for target in thought.supports)
            yield from (Edge(name, target, "contradicts") for target in thought.contradicts)
            yield from (Edge(name, target, "derived-from") for target in thought.about)
        for candidate in self.candidates.values():
            yield from self._edges_of(candidate)

    def _edges_of(self, candidate: Candidate) -> Iterator[Edge]:
        for parent in candidate.parents:
            other = self.candidates.get(parent)
            weight = None if other is None else gain(candidate, other, self.divergences)
            yield Edge(candidate.id, parent, "derived-from", weight)
        yield from (Edge(candidate.id, thought, "derived-from") for thought in candidate.thoughts)
        outcome, saved = _outcome_id(candidate.id), self._gain(candidate)
        yield Edge(outcome, candidate.id, "derived-from")
        if saved:
            kind: EdgeKind = "supports" if saved > 0 else "contradicts"
            yield from (Edge(outcome, thought, kind, saved) for thought in candidate.thoughts)
        for other_id, correlation in self.likeness.get(candidate.id, {}).items():
            if correlation >= SIMILAR:
                yield Edge(candidate.id, other_id, "similar-to", correlation)


def _outcome_id(candidate: str) -> str:
    return f"o-{candidate.removeprefix('c-')}"
