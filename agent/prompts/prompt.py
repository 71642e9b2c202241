"""Prompts, built from the thought graph and the Markdown templates beside this file."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from random import Random

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from agent.designer_tools.looks.compare import divergences
from agent.prompts.chain import Chain, chain
from agent.prompts.templates import draw_template
from agent.situation import Situation
from runs.candidate import Candidate, PastCandidate
from runs.fold.history import History
from runs.fold.thoughts import ThoughtGraph, gain_over_parent, thought_graph
from tools.expression import ALLOCATION, METRIC, NAMED_ALLOCATIONS
from tools.model.units import units

SHOWN = 6
"""Candidates in a plain history, and lessons in a chain."""


class Style(StrEnum):
    """How much of the past a prompt is built from."""

    CHAIN = "gcot"
    HISTORY = "history"

    @property
    def reasons(self) -> bool:
        """Whether thoughts are written down before anything is designed."""
        return self is Style.CHAIN


def opening(situation: Situation) -> str:
    """The system prompt: the task, the language of formulas, the rules."""
    readable, pattern = situation.pool.metric_terminals, situation.goal.pattern
    architecture = situation.bench.model.architecture
    return _render(
        (f"system_{pattern.fells.replace(' ', '_')}", "system"),
        goal=situation.goal,
        pattern=pattern,
        terminals={name: METRIC.terminals[name].meaning for name in METRIC.terminals if name in readable},
        operators={name: op.meaning for name, op in METRIC.operators.items() if name.isidentifier()},
        layer_terminals={name: stat.meaning for name, stat in ALLOCATION.terminals.items()},
        metrics=situation.pool.named_metrics,
        allocations=NAMED_ALLOCATIONS,
        allocates=pattern.allocates,
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
        (step,),
        task=_render((f"design_{draw_template(situation)}",)).strip() if style is Style.CHAIN else "",
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
        said=history.said[: history.heard.get(f"{situation.topic(step)}/1")][-SHOWN:],
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


def _render(names: Sequence[str], **values: object) -> str:
    """The first of these templates that is there, filled in."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # prompts are plain text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.select_template([f"{name}.md" for name in names]).render(values)
