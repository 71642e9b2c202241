"""Prompts, built from the thought graph. Their words are Markdown templates in `prompts/`.

Templates of the design step are drawn by weight; a weight grows with the fitness that the children of its template
reached, as TAP's controller does (arXiv 2512.07419), and starts out equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from random import Random

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from agent.chain import Chain, chain
from agent.designer_tools.looks import divergences
from agent.designers import Situation
from runs.candidate import Candidate
from runs.events import PastCandidate
from runs.fold.history import History
from runs.fold.thoughts import ThoughtGraph, gain_over_parent, thought_graph
from tools.expression import ALLOCATION, METRIC, NAMED_ALLOCATIONS
from tools.prune.allocation import units
from tools.recipe import Structured

SHOWN = 6
"""Candidates in a plain history, and lessons in a chain."""
RATE = 2.0
"""How fast template weights follow the fitness: weight = exp(RATE * mean standing of the children)."""


class Style(StrEnum):
    """How much of the past a prompt is built from."""

    CHAIN = "gcot"
    HISTORY = "history"

    @property
    def reasons(self) -> bool:
        return self is Style.CHAIN


class Template(StrEnum):
    """What a generation is told to do; each has its file."""

    MODIFY = "modify"
    COMBINE = "combine"
    EXPLORE = "explore"
    ALLOCATE = "allocate"
    SIMPLIFY = "simplify"


def templates(situation: Situation) -> list[Template]:
    """Those that fit the pattern: N:M leaves nothing to allocate."""
    return [t for t in Template if t is not Template.ALLOCATE or situation.goal.pattern.allocates]


def template_weights(history: History, choices: Sequence[Template]) -> dict[Template, float]:
    """Chance of every template: exp(RATE * mean standing of its children), 1 for one that was not used yet.

    The standing of a child is its place among all measured candidates of its kind, 1 best, -1 worst.
    """
    standing = _standings(history)
    weights = {}
    for template in choices:
        children = [standing[c.id] for c in history.candidates.values() if c.template == template and c.id in standing]
        weights[template] = math.exp(RATE * math.fsum(children) / len(children)) if children else 1.0
    total = math.fsum(weights.values())
    return {template: weight / total for template, weight in weights.items()}


def _standings(history: History) -> dict[str, float]:
    found: dict[str, float] = {}
    measured = [c for c in history.candidates.values() if c.id in history.divergences]
    for kind in {c.recipe.league for c in measured}:
        members = [c for c in measured if c.recipe.league == kind]
        members.sort(key=lambda c: history.divergences[c.id][min(history.divergences[c.id])].value)
        found |= {c.id: 1 - 2 * i / max(1, len(members) - 1) for i, c in enumerate(members)}
    return found


def draw_template(situation: Situation) -> Template:
    """The template of this generation; the same for every attempt at it."""
    weights = template_weights(situation.history, templates(situation))
    rng = Random(f"{situation.goal.seed}/{situation.generation}/template")
    return rng.choices(list(weights), list(weights.values()))[0]


def opening(situation: Situation) -> str:
    """The system prompt: the task, the language of formulas, the rules."""
    readable = situation.pool.metric_terminals
    architecture = situation.bench.model.architecture
    return _render(
        "system",
        goal=situation.goal,
        terminals={name: METRIC.terminals[name].meaning for name in METRIC.terminals if name in readable},
        operators={name: op.meaning for name, op in METRIC.operators.items() if name.isidentifier()},
        layer_terminals={name: stat.meaning for name, stat in ALLOCATION.terminals.items()},
        metrics=situation.pool.named_metrics,
        allocations=NAMED_ALLOCATIONS,
        allocates=situation.goal.pattern.allocates,
        shapes=situation.goal.pattern if isinstance(situation.goal.pattern, Structured) else None,
        compensation=situation.pool.compensation,
        blocks=architecture.n_blocks,
        layers=len(units(architecture, "layer")),
        projections=len(architecture.projections),
    )


def prompt(situation: Situation, step: str, style: Style, wanted: int, rng: Random) -> str:
    """The prompt of a reason or design step."""
    history, graph = situation.history, thought_graph(situation.history)
    ranked = [c for c in history.ranked(situation.generation - 1) if c.id not in history.rejected]
    found = chain(graph, [c.id for c in ranked], rng) if style is Style.CHAIN and ranked else None
    return _render(
        step,
        task=_render(f"design_{draw_template(situation)}").strip() if style is Style.CHAIN else "",
        wanted=wanted,
        generation=situation.generation,
        ranked=[_line(history, c) for c in ranked[:SHOWN]],
        chain=None if found is None else _spelled(history, graph, found),
        edits=_edits(history, situation.generation - 1),
        lessons=[f"{n.id}: {n.text}" for n in graph.of_kind("lesson")[-SHOWN:]],
        hypotheses=[f"{n.id}: {n.text}" for n in graph.of_kind("hypothesis")[-SHOWN:]],
        observations=[n.text for n in graph.of_kind("observation") if n.generation == 0],
        recalled=[_recollection(past) for past in situation.recalled],
        rejected=_refused(history)[-SHOWN:],
        said=history.said[-SHOWN:],
    )


def _recollection(past: PastCandidate) -> str:
    result = "unknown" if past.relative is None else f"{past.relative:.3f} of the best reference's divergence"
    return f"{past.recipe}: result {result}, similarity of model and goal {past.similarity:.2f} ({past.id})"


def _refused(history: History) -> list[str]:
    return [f"{c.recipe}: {history.rejected[c.id]}" for c in history.candidates.values() if c.id in history.rejected]


def _line(history: History, candidate: Candidate) -> str:
    return f"{candidate.id}: {divergences(history, candidate.id)}: {candidate.recipe}"


def _spelled(history: History, graph: ThoughtGraph, found: Chain) -> dict[str, object]:
    """The chain in words: idea, edit, measured change."""

    def told(name: str) -> str:
        outcome = graph.nodes.get(f"o-{name[2:]}")
        candidate = history.candidates[name]
        return f"{name}: {candidate.recipe}. Idea: {candidate.why}. Outcome: {outcome.text if outcome else 'none'}"

    worse = found.contrast
    return {
        "anchor": found.anchor,
        "path": [told(name) for name in found.path],
        "contrast": None if worse is None else told(worse.source),
        "near": [_line(history, history.candidates[name]) for name in found.near],
        "far": None if found.far is None else _line(history, history.candidates[found.far]),
    }


def _edits(history: History, generation: int) -> list[str]:
    """What the last generation's edits did."""
    lines = []
    for child in history.generation(generation):
        saved = gain_over_parent(child, history.candidates, history.divergences)
        if saved is not None:
            parent = history.candidates[child.parents[0]]
            verdict = f"{'saved' if saved > 0 else 'cost'} {abs(saved):.4f}"
            lines.append(f"{parent.id} -> {child.id} {verdict}: {parent.recipe} -> {child.recipe}. Idea: {child.why}")
    return lines


def _render(name: str, **values: object) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "prompts"),
        autoescape=False,  # prompts are plain text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(f"{name}.md").render(values)
