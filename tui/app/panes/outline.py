"""The thought graph as nested lines: lessons first, then what was thought and tried in each generation."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from runs.fold.thoughts import Edge, EdgeKind, Node, ThoughtGraph
from runs.fold.words import number

_BACKWARDS: dict[EdgeKind, str] = {"supports": "supported by", "contradicts": "contradicted by"}


@dataclass(frozen=True)
class Branch:
    """One line of the outline with the lines below it."""

    key: str
    """Stays the same while the graph grows; no other line has it."""
    head: str
    text: str
    leads_to: str = ""
    """A candidate or a thought that the line is, or tells of."""
    children: tuple[Branch, ...] = ()

    @property
    def whole(self) -> str:
        """What the line says, however long."""
        return "  ".join(part for part in (self.head, self.text) if part)


def outline(graph: ThoughtGraph) -> tuple[Branch, ...]:
    """The lessons, then one line for each generation."""
    if not graph.nodes:
        return ()
    return _Outline(graph).lines()


class _Outline:
    """Edges by their ends, so that a large graph is told in one pass."""

    def __init__(self, graph: ThoughtGraph) -> None:
        self.graph = graph
        self.leaving: dict[str, list[Edge]] = defaultdict(list)
        self.reaching: dict[str, list[Edge]] = defaultdict(list)
        for edge in graph.edges:
            self.leaving[edge.source].append(edge)
            self.reaching[edge.target].append(edge)

    def lines(self) -> tuple[Branch, ...]:
        lessons = tuple(self._thought(node) for node in self.graph.of_kind("lesson"))
        first = Branch("lessons", "lessons", "" if lessons else "none drawn yet", children=lessons)
        others: dict[int, list[Node]] = defaultdict(list)
        for node in self.graph.nodes.values():
            if node.kind not in ("lesson", "outcome"):
                others[node.generation].append(node)
        return (first, *(self._generation(which, others[which]) for which in sorted(others)))

    def _generation(self, which: int, nodes: list[Node]) -> Branch:
        designs = sum(node.kind == "design" for node in nodes)
        children = tuple(self._design(node) if node.kind == "design" else self._thought(node) for node in nodes)
        count = f"{designs} design{'' if designs == 1 else 's'}" if designs else "thoughts"
        return Branch(f"generation {which}", f"generation {which}", count, children=children)

    def _thought(self, node: Node) -> Branch:
        backwards = [edge for edge in self.reaching[node.id] if edge.kind in _BACKWARDS]
        lines = [*map(_told, self.leaving[node.id]), *map(_told_backwards, backwards)]
        head = node.id if node.kind == "lesson" else f"{node.id} {node.kind}"
        return Branch(node.id, head, _flat(node.text), node.id, _once(lines))

    def _design(self, node: Node) -> Branch:
        lines = [self._outcome(node.id, edge.source) for edge in self.reaching[node.id] if _is_outcome(edge)]
        found = re.match(r"rejected|KL \S+", lines[0].text) if lines else None
        lines += map(_told, self.leaving[node.id])
        head = f"{node.id} {found[0]}" if found else node.id
        return Branch(node.id, head, _flat(node.text), node.id, _once(lines))

    def _outcome(self, design: str, name: str) -> Branch:
        told = (_told(edge) for edge in self.leaving[name] if not _is_outcome(edge))
        return Branch(name, "outcome", _flat(self.graph.nodes[name].text), design, _once(told))


def _told(edge: Edge) -> Branch:
    """An edge as seen from its source."""
    words = {"derived-from": "derived from", "similar-to": "ranks like"}.get(edge.kind, edge.kind)
    if edge.kind == "derived-from" and edge.target.startswith("t-"):
        words = "follows"
    elif edge.kind == "derived-from" and edge.source.startswith("t-"):
        words = "drawn from"
    return Branch(f"{edge.source} {edge.kind} {edge.target}", "", f"{words} {edge.target}{_weight(edge)}", edge.target)


def _told_backwards(edge: Edge) -> Branch:
    """An edge as seen from its target; an outcome speaks for its design."""
    design = edge.source.replace("o-", "c-")
    text = f"{_BACKWARDS[edge.kind]} {design}{_weight(edge)}"
    return Branch(f"{edge.target} {edge.kind} by {edge.source}", "", text, design)


def _weight(edge: Edge) -> str:
    if edge.weight is None:
        return ""
    if edge.kind == "similar-to":
        return f" ({edge.weight:.2f})"
    return f", KL {number(abs(edge.weight))} {'saved' if edge.weight >= 0 else 'lost'}"


def _is_outcome(edge: Edge) -> bool:
    """Whether the edge joins an outcome to its design."""
    return edge.source.startswith("o-") and edge.kind == "derived-from"


def _once(lines: Iterable[Branch]) -> tuple[Branch, ...]:
    """A thought may name the same candidate twice."""
    return tuple({line.key: line for line in lines}.values())


def _flat(text: str) -> str:
    return " ".join(text.split())
