"""The thought graph as text: a list for the terminal, Graphviz DOT, Mermaid."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator

from runs.fold.thoughts import Edge, EdgeKind, Node, NodeKind, ThoughtGraph

LABEL = 60
"""Characters of a node's text that a drawing shows."""
SHAPES: dict[NodeKind, str] = {
    "observation": "note",
    "hypothesis": "ellipse",
    "design": "box",
    "outcome": "plaintext",
    "lesson": "folder",
}
STYLES: dict[EdgeKind, str] = {
    "supports": "solid",
    "contradicts": "bold",
    "derived-from": "solid",
    "similar-to": "dotted",
}


def listing(graph: ThoughtGraph) -> str:
    """All nodes by generation, each with what it is drawn from, supports, contradicts or resembles."""
    lines: list[str] = []
    for generation in sorted({node.generation for node in graph.nodes.values()}):
        lines.append(f"generation {generation}")
        for node in graph.nodes.values():
            if node.generation == generation and node.kind != "outcome":
                lines += _listed(graph, node)
    return "\n".join(lines) or "no thoughts yet"


def _listed(graph: ThoughtGraph, node: Node) -> Iterator[str]:
    yield f"  {node.id:<5} {node.kind:<11}  {' '.join(node.text.split())}"
    for edge in graph.edges:
        if edge.source == node.id:
            yield f"{'':21}{edge.kind} {edge.target}{_weight(edge)}"
    for edge in graph.reaching(node.id, "derived-from"):
        if (outcome := graph.nodes[edge.source]).kind == "outcome":
            yield f"{'':21}outcome: {outcome.text}"
            yield from (
                f"{'':21}outcome {e.kind} {e.target}{_weight(e)}"
                for e in graph.edges
                if e.source == outcome.id and e.kind != "derived-from"
            )


def _weight(edge: Edge) -> str:
    if edge.weight is None:
        return ""
    return f" ({edge.weight:.3f})" if edge.kind == "similar-to" else f" (KL {-edge.weight:+.4f})"


def dot(graph: ThoughtGraph) -> str:
    """Graphviz: `dot -Tsvg` draws it."""
    lines = ["digraph thoughts {", "  rankdir=BT; node [fontsize=10]; edge [fontsize=9];"]
    for node in graph.nodes.values():
        lines.append(f"  {_quoted(node.id)} [shape={SHAPES[node.kind]}, label={_quoted(_label(node))}];")
    for edge in graph.edges:
        label = f"{edge.kind}{_weight(edge)}"
        style = STYLES[edge.kind]
        lines.append(f"  {_quoted(edge.source)} -> {_quoted(edge.target)} [label={_quoted(label)}, style={style}];")
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def mermaid(graph: ThoughtGraph) -> str:
    """Mermaid, as Markdown readers draw it."""
    lines = ["flowchart BT"]
    for node in graph.nodes.values():
        lines.append(f'  {node.id}["{_plain(_label(node))}"]')
    for edge in graph.edges:
        arrow = "-.-" if edge.kind == "similar-to" else "-->"
        lines.append(f'  {edge.source} {arrow}|"{_plain(edge.kind + _weight(edge))}"| {edge.target}')
    return "\n".join(lines)


def _label(node: Node) -> str:
    return f"{node.id} {textwrap.shorten(node.text, LABEL, placeholder=' …')}"


def _plain(text: str) -> str:
    """Mermaid reads these characters as its own; entities of its kind stand for them."""
    return re.sub(r'["#<>|&;`\\]', lambda match: f"#{ord(match[0])};", text)
