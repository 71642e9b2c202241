"""The thought graph as one inline SVG: a column per generation, thoughts above the designs they led to.

Edits that helped are solid lines, edits that hurt are dashed, and those that cannot be compared are thin; hovering over
a node shows its text.
"""

from __future__ import annotations

from markupsafe import Markup

from runs.fold.thoughts import Edge, Node, ThoughtGraph

_COLUMN, _ROW, _BOX, _TALL, _MARGIN = 130, 26, 92, 18, 12
Place = tuple[float, float]


def family(graph: ThoughtGraph) -> Markup:
    """Draw the graph; nothing where it has no design."""
    if not graph.of_kind("design"):
        return Markup("")
    places = _places(graph)
    parts = [_edge(edge, places) for edge in graph.edges if edge.source in places and edge.target in places]
    parts += [_node(graph, graph.nodes[name], place) for name, place in places.items()]
    width = max(x for x, _ in places.values()) + _BOX + _MARGIN
    height = max(y for _, y in places.values()) + _TALL + _MARGIN
    head = Markup('<svg class="family" viewBox="0 0 {} {}" style="max-width: {}px" role="img" aria-label="{}">')
    label = "Thoughts and designs by generation"
    return (
        head.format(f"{width:.0f}", f"{height:.0f}", f"{width:.0f}", label)
        + Markup("\n").join(parts)
        + Markup("</svg>")
    )


def _places(graph: ThoughtGraph) -> dict[str, Place]:
    """Upper left corner of every node but the outcomes, which are written into their designs."""
    columns: dict[int, int] = {}
    places: dict[str, Place] = {}
    drawn = [node for node in graph.nodes.values() if node.kind != "outcome"]
    first = min(node.generation for node in drawn)
    for node in sorted(drawn, key=lambda node: node.kind == "design"):
        row = columns.get(node.generation, 0)
        columns[node.generation] = row + 1
        places[node.id] = (_MARGIN + (node.generation - first) * _COLUMN, float(_MARGIN + row * _ROW))
    return places


def _node(graph: ThoughtGraph, node: Node, place: Place) -> Markup:
    x, y = place
    outcome = graph.nodes.get(f"o-{node.id[2:]}") if node.kind == "design" else None
    words = outcome.text.split() if outcome else []
    label = f"{node.id} {words[1][:5] if words[:1] == ['KL'] else '✗' if words else ''}".strip()
    tip = node.text + (f" — {outcome.text}" if outcome else "")
    box = Markup(
        '<g class="{}"><rect x="{:.0f}" y="{:.0f}" width="{}" height="{}" rx="{}"/>'
        '<text x="{:.0f}" y="{:.0f}">{}</text><title>{}</title></g>'
    )
    shown = label if node.kind == "design" else f"{node.id} {node.kind}"
    return box.format(node.kind, x, y, _BOX, _TALL, 2 if node.kind == "design" else 9, x + 6, y + 13, shown, tip)


def _edge(edge: Edge, places: dict[str, Place]) -> Markup:
    """From the older node's right side to the younger one's left side, or along the column's left side."""
    (x1, y1), (x2, y2) = places[edge.target], places[edge.source]
    kind = "unknown" if edge.weight is None else "helped" if edge.weight > 0 else "hurt"
    if edge.kind != "derived-from":
        kind = edge.kind
    start = (x1 + (_BOX if x2 > x1 else 0), y1 + _TALL / 2)
    end = (x2, y2 + _TALL / 2)
    bend = (start[0] + end[0]) / 2 if x2 > x1 else x1 - 10
    path = (
        f"M{start[0]:.0f},{start[1]:.0f} C{bend:.0f},{start[1]:.0f} {bend:.0f},{end[1]:.0f} {end[0]:.0f},{end[1]:.0f}"
    )
    tip = f"{edge.source} {edge.kind} {edge.target}" + ("" if edge.weight is None else f" ({edge.weight:+.3f})")
    return Markup('<path class="edge {}" d="{}"><title>{}</title></path>').format(kind, path, tip)
