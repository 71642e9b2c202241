"""Principles: which parts of a recipe go with fitness, over all candidates measured so far.

Pruner-Zero's authors drew theirs by hand from their best trees. Here every feature of the recipes is rank-correlated
with the divergence that was reached, and only what an interval sets apart from chance becomes a lesson.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import spearmanr

from runs.candidate import Candidate
from tools.expression import ALLOCATION, Call, Node, depth, parse, used_terminals
from tools.expression.nodes import walk
from tools.recipe import Recipe

FEWEST = 8
"""Candidates from which principles are drawn."""
MOST = 5
LEVEL = 1.96
"""Standard normal quantile of the two-sided 95 % interval."""


@dataclass(frozen=True)
class Principle:
    """A feature, its Spearman correlation with the divergence (negative: more of it goes with lower KL) and the
    interval of that."""

    feature: str
    correlation: float
    low: float
    high: float
    candidates: int

    @property
    def text(self) -> str:
        """As a lesson."""
        word = "lower" if self.correlation < 0 else "higher"
        return (
            f"Over {self.candidates} candidates, {self.feature} goes with {word} KL "
            f"(Spearman {self.correlation:+.2f}, 95 % interval {self.low:+.2f} to {self.high:+.2f})."
        )


def features(recipe: Recipe, rates: Sequence[float] = ()) -> dict[str, float]:
    """What a recipe consists of, as numbers.

    Args:
        rates: the sparsity of every block, first to last, where it is known.
    """
    metric = parse(recipe.metric, recipe.language)
    found = {f"{name} in the metric": 1.0 for name in _names(metric)}
    found["depth of the metric"] = float(depth(metric))
    allocation = recipe.allocation
    found["width of the allocation"] = 0.0 if allocation.uniform else allocation.width
    if not allocation.uniform and allocation.expression is not None:
        found |= {f"{name} in the allocation": 1.0 for name in _names(parse(allocation.expression, ALLOCATION))}
    found[f"rates per {allocation.granularity}"] = 0.0 if allocation.uniform else 1.0
    found["weights compete within the matrix"] = float(recipe.pattern.comparison == "matrix")
    if len(rates) >= 3:
        third = len(rates) // 3
        found["sparsity of the first block"] = rates[0]
        found["sparsity of the last block"] = rates[-1]
        found["sparsity of the first third"] = math.fsum(rates[:third]) / third
        found["sparsity of the last third"] = math.fsum(rates[-third:]) / third
    return found


def _names(node: Node) -> set[str]:
    """Terminals and operators; an operator in the way a formula writes it."""
    calls = {part.operator for part in walk(node) if isinstance(part, Call)}
    return {*used_terminals(node), *calls}


def principles(
    candidates: Sequence[Candidate],
    fitness: Mapping[str, float],
    rates: Mapping[str, Sequence[float]],
) -> list[Principle]:
    """The features that go with fitness beyond chance, the strongest first.

    Candidates are ranked among those with the same compensation, whose divergences can be compared; the ranks, scaled
    to 0..1, are pooled. One interval of 95 % is taken per feature, so among many features some will be flukes.

    Args:
        fitness: candidate -> KL at a fidelity that all of them have. rates: candidate -> sparsity per block.
    """
    chosen = [c for c in candidates if c.id in fitness]
    if len(chosen) < FEWEST:
        return []
    places = _places(chosen, fitness)
    table = {c.id: features(c.recipe, rates.get(c.id, ())) for c in chosen}
    names = sorted({name for row in table.values() for name in row})
    found = [
        principle
        for name in names
        if (principle := _principle(name, [table[c.id].get(name, 0.0) for c in chosen], places)) is not None
    ]
    return sorted(found, key=lambda p: (-abs(p.correlation), p.feature))[:MOST]


def _places(candidates: Sequence[Candidate], fitness: Mapping[str, float]) -> list[float]:
    """Rank by divergence within the compensation, 0 (best) to 1."""
    places: dict[str, float] = {}
    for kind in {c.recipe.league for c in candidates}:
        members = sorted((c for c in candidates if c.recipe.league == kind), key=lambda c: fitness[c.id])
        places |= {c.id: i / max(1, len(members) - 1) for i, c in enumerate(members)}
    return [places[c.id] for c in candidates]


def _principle(name: str, values: Sequence[float], places: Sequence[float]) -> Principle | None:
    """None where the feature hardly varies or its interval holds zero."""
    usual = max(set(values), key=values.count)
    if len(values) - values.count(usual) < 3:
        return None
    correlation = float(spearmanr(values, places).statistic)
    low, high = interval(correlation, len(values))
    return None if low <= 0 <= high else Principle(name, correlation, low, high, len(values))


def interval(correlation: float, n: int) -> tuple[float, float]:
    """95 % interval of a Spearman correlation: Fisher's z with the variance (1 + r²/2) / (n - 3) of Bonett and Wright
    (2000)."""
    if abs(correlation) >= 1:
        return correlation, correlation
    z, wide = math.atanh(correlation), LEVEL * math.sqrt((1 + correlation**2 / 2) / (n - 3))
    return math.tanh(z - wide), math.tanh(z + wide)
