"""What a generation is told to do: templates of the design step, drawn by weight.

A weight grows with the fitness that the children of its template reached, as TAP's controller does (arXiv 2512.07419),
and starts out equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from random import Random

from agent.situation import Situation
from runs.fold.history import History

RATE = 2.0
"""How fast template weights follow the fitness: weight = exp(RATE * mean standing of the children)."""


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
    """The template of a conversation of this generation; the same for every attempt at it."""
    weights = template_weights(situation.history, templates(situation))
    part = "" if situation.part == 1 else f"/{situation.part}"
    rng = Random(f"{situation.goal.seed}/{situation.generation}/template{part}")
    return rng.choices(list(weights), list(weights.values()))[0]
