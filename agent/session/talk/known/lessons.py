"""What a run has learnt, in words that one can act on, and the thoughts behind it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from runs.events import Thought
from runs.fold.history import History
from runs.fold.thoughts import EdgeKind, ThoughtGraph, thought_graph
from tools.expression.operators import ALLOCATION, METRIC

MOST = 12
"""Thoughts in one answer."""
BETTER, WORSE = "goes with lower KL", "goes with higher KL"

_RULES: dict[str, tuple[str, str]] = {
    "depth of the metric": ("let metrics be longer formulas", "keep metrics to short formulas"),
    "width of the allocation": (
        "let sparsity differ more between layers: a larger width of the allocation",
        "let sparsity differ less between layers: a smaller width of the allocation",
    ),
    "weights compete within the matrix": (
        "let weights compete within the whole matrix",
        "let weights compete within their row, not within the whole matrix",
    ),
}
"""Feature of recipes -> what to do where more of it goes with a lower divergence, and with a higher one."""


def rules(history: History) -> list[str]:
    """What to do, then the evidence, a line for every lesson that still holds."""
    latest: dict[str, tuple[str, Thought]] = {}
    for name, thought in history.thoughts.items():
        if thought.kind == "lesson":
            latest[thought.topic or name] = name, thought
    return [_rule(name, thought) for name, thought in latest.values()]


def _rule(name: str, thought: Thought) -> str:
    evidence = f"{name}: {thought.text}"
    if thought.topic == "" or (BETTER not in thought.text and WORSE not in thought.text):
        return evidence
    what = advised(thought.topic, better=BETTER in thought.text)
    return f"{what[0].upper()}{what[1:]}.\n    Evidence: {evidence}"


def advised(feature: str, *, better: bool) -> str:
    """What to do about a feature of recipes, as `agent.principles` names it.

    Args:
        better: whether more of it goes with a lower divergence.
    """
    if feature in _RULES:
        return _RULES[feature][0 if better else 1]
    if found := re.fullmatch(r"(\S+) in the (metric|allocation)", feature):
        return f"{'prefer' if better else 'avoid'} {found[2]}s with {_with_meaning(found[1], found[2])}"
    if found := re.fullmatch(r"sparsity of the ((?:first|last) (?:block|third))", feature):
        part = found[1] + (" of the blocks" if found[1].endswith("third") else "")
        return f"{'prune more' if better else 'spare'} the {part}"
    if found := re.fullmatch(r"rates per (\w+)", feature):
        return f"give every {found[1]} a rate of its own" if better else f"keep away from rates per {found[1]}"
    return f"{'more' if better else 'less'} {feature}"


def _with_meaning(name: str, where: str) -> str:
    language = METRIC if where == "metric" else ALLOCATION
    head = name.partition("(")[0]
    if head in language.parametrised or head in language.terminals:
        return f"{name} ({language.statistic(name).meaning})"
    operator = language.operators.get(name)
    return name if operator is None else f"{name} ({operator.meaning})"


def thoughts(history: History, words: str = "") -> str:
    """The newest thoughts, designs and outcomes that name every word, each with its edges."""
    graph, wanted = thought_graph(history), words.lower().split()
    if not graph.nodes:
        return "Nothing is thought yet."
    found = [
        node
        for node in graph.nodes.values()
        if all(word in f"{node.id} {node.kind} {node.text}".lower().replace(",", " ") for word in wanted)
    ]
    if not wanted:
        found = [node for node in found if node.kind not in ("design", "outcome")] or found
    if not found:
        return f'No thought of this run names "{words}"; there are {len(graph.nodes)}.'
    shown = sorted(found, key=lambda node: node.generation)[-MOST:]
    lines = [
        f"  {node.id} ({node.kind}, generation {node.generation}): {node.text}{_joined(graph, node.id)}"
        for node in shown
    ]
    more = [f"{len(found) - MOST} older ones are left out; words narrow it down."] if len(found) > MOST else []
    return "\n".join([*lines, *more])


_KINDS: Sequence[EdgeKind] = ("supports", "contradicts", "derived-from")


def _joined(graph: ThoughtGraph, name: str) -> str:
    told = []
    for kind in _KINDS:
        if targets := [edge.target for edge in graph.leaving(name, kind)]:
            told.append(f"{kind.replace('-', ' ')} {', '.join(targets)}")
    return f" [{'; '.join(told)}]" if told else ""
