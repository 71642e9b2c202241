"""The archive: the best candidate of every niche, so that the population does not collapse into one idea (MAP-Elites).

A niche is what a recipe is made of, not how well it does: comparison group or N:M, compensation, depth of the metric,
and the statistics that metric and allocation read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from runs.candidate import Candidate
from tools.expression import ALLOCATION, depth, parse, used_terminals
from tools.recipe import Recipe

DEEPEST = 5
"""Metrics deeper than this share a niche."""


class Niche(NamedTuple):
    """What a recipe is made of; one candidate lives in each."""

    pattern: str
    compensation: str
    depth: int
    statistics: frozenset[str]


def niche(recipe: Recipe) -> Niche:
    """Where a recipe belongs; explicit rates count as a statistic of their own."""
    metric, allocation = parse(recipe.metric, recipe.language), recipe.allocation
    read = set(used_terminals(metric))
    if allocation.vector is not None:
        read.add("rates")
    elif allocation.expression is not None and not allocation.uniform:
        read |= used_terminals(parse(allocation.expression, ALLOCATION))
    return Niche(str(recipe.pattern), recipe.compensation.kind, min(depth(metric), DEEPEST), frozenset(read))


def elites(ranked: Sequence[Candidate]) -> list[Candidate]:
    """The first of every niche, in the order given (best first)."""
    found: dict[Niche, Candidate] = {}
    for candidate in ranked:
        found.setdefault(niche(candidate.recipe), candidate)
    return list(found.values())


def population(ranked: Sequence[Candidate], size: int, near: Callable[[Candidate, Candidate], bool]) -> list[Candidate]:
    """Who lives on: elites before others, those with and without OBS in turn, the best of each first.

    The two kinds take turns because their divergences cannot be compared in the search form. An elite that is far
    behind the best of its kind counts as one of the others: of 12 candidates bred for SmolLM2-135M at 50 %, width and
    depth, six had ShortGPT's recipe for a parent, whose KL is 3.4 times the best.

    Args:
        ranked: all measured candidates, best first.
        near: whether the first is near enough to the second, which is ranked before it.
    """
    chosen = {c.id for c in elites(ranked)}
    order = []
    places: dict[tuple[bool, str], int] = {}
    best: dict[str, Candidate] = {}
    for candidate in ranked:
        league = candidate.recipe.league
        elite = candidate.id in chosen and near(candidate, best.setdefault(league, candidate))
        place = places[not elite, league] = places.get((not elite, league), -1) + 1
        order.append((not elite, place, candidate))
    order.sort(key=lambda item: item[:2])
    return [candidate for _, _, candidate in order[:size]]
