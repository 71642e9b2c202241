"""Recipes that obey: what a rule means on the model at hand, and how a recipe is changed so that it keeps the rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.breeding.genes import Child, Pool
from agent.breeding.shapes import GONE, NEARLY
from agent.steering.places import MOST
from agent.steering.reply import ground
from agent.steering.rules import Steering, blocks, names_in, said
from agent.steering.words import steering
from runs.fold.history import History
from runs.goal import Goal
from tools.io.errors import SecateurError
from tools.model.units import Unit, units
from tools.recipe import Allocation, Compensation, Recipe

if TYPE_CHECKING:
    from tools.prune.bench import Bench

PLAIN = ("W * X", "W")
"""What stands in for a metric that may not be, the first that may."""
WHOLE = 1e-6
"""A rate up to which nothing of a block falls."""


def obedience(bench: Bench, goal: Goal, history: History, upto: int | None = None) -> Obedience:
    """What the person said since the run began, or in the first `upto` lines, and what obeys it."""
    return Obedience(steering(history.words(upto), ground(goal, history)), bench)


@dataclass(frozen=True)
class Obedience:
    """The rules, and the model that they are meant for."""

    rules: Steering
    bench: Bench

    def objection(self, recipe: Recipe) -> str | None:
        """Which word of the person the recipe breaks."""
        if (found := self.rules.objection(recipe)) is not None or not self.rules.spared:
            return found
        hurt = {block for block, rate in self._rates(recipe).items() if rate > WHOLE} & self.rules.spared
        return said(f"spare {blocks(hurt)}") if hurt else None

    def asked(self, goal: Goal) -> Goal:
        """The goal with the kind of structures that may still fall."""
        if not self.rules.kind:
            return goal
        return goal.model_copy(update={"pattern": goal.pattern.only(self.rules.kind)})

    def pool(self, pool: Pool, goal: Goal) -> Pool:
        """What may still be drawn from."""
        last = goal.pattern.compensations[-1:]
        compensation = pool.compensation and not self.rules.barred & set(last)
        return replace(pool, metric_terminals=pool.metric_terminals - self.rules.avoided, compensation=compensation)

    def pleases(self, child: Child) -> bool:
        """Whether its metric has something of what the person prefers, where they prefer anything."""
        return not self.rules.preferred or bool(names_in(child.recipe.metric) & self.rules.preferred)

    def child(self, child: Child) -> Child:
        """The child as it obeys."""
        recipe = self.amended(child.recipe)
        return child if recipe == child.recipe else replace(child, recipe=recipe, why=f"{child.why} ({self.rules})")

    def amended(self, recipe: Recipe) -> Recipe:
        """The nearest recipe that obeys; itself where it does, or where none can be made of it."""
        rules, changes = self.rules, dict[str, object]()
        if recipe.compensation.kind in rules.barred:
            changes["compensation"] = Compensation()
        if rules.kind and recipe.pattern.only(rules.kind) != recipe.pattern:
            changes["pattern"] = recipe.pattern.only(rules.kind)
        if names_in(recipe.metric) & rules.avoided:
            changes["metric"] = next((m for m in PLAIN if not names_in(m) & rules.avoided), recipe.metric)
        if rules.uniform:
            changes["allocation"] = Allocation()
        found = Recipe.model_validate(recipe.model_copy(update=changes).model_dump()) if changes else recipe
        return self.sparing(found)

    def sparing(self, recipe: Recipe) -> Recipe:
        """The recipe with nothing of the spared blocks taken, the others giving more for it."""
        rules, pattern = self.rules, recipe.pattern
        if not rules.spared or not pattern.allocates:
            return recipe
        try:
            prepared = self.bench.prepare(recipe).sparsity
        except SecateurError:
            return recipe  # the screen says why it cannot be used
        own = "layer" if pattern.by_layer else recipe.allocation.granularity
        members = units(self.bench.model.architecture, own)
        rates = [prepared[unit.projections[0].name] for unit in members]
        if not any(rate > WHOLE for rate, unit in zip(rates, members, strict=True) if unit.block in rules.spared):
            return recipe
        vector = tuple(round(rate, 12) for rate in spread(rates, members, rules.spared, recipe))
        allocation = Allocation(expression=None, vector=vector, granularity=own)
        return recipe.model_copy(update={"allocation": allocation})

    def _rates(self, recipe: Recipe) -> dict[int, float]:
        """Block -> the largest rate of its projections."""
        try:
            prepared = self.bench.prepare(recipe).sparsity
        except SecateurError:
            return {}
        found: dict[int, float] = {}
        for projection in self.bench.model.architecture.projections:
            found[projection.block] = max(found.get(projection.block, 0.0), prepared[projection.name])
        return found


def spread(rates: Sequence[float], members: Sequence[Unit], spared: frozenset[int], recipe: Recipe) -> list[float]:
    """Rates that are zero in the spared blocks, and higher by one shift elsewhere, so that the whole stays the same.

    Where structures fall, what was gone of a spared block goes of the nearest other one instead.
    """
    found, structured = list(rates), recipe.pattern.by_layer
    for place in [i for i, unit in enumerate(members) if unit.block in spared]:
        if structured and found[place] >= NEARLY:
            others = [i for i in _alike(members, place) if members[i].block not in spared and found[i] < NEARLY]
            found[min(others, key=lambda i: abs(i - place), default=place)] = GONE
        found[place] = 0.0
    if structured and recipe.pattern.only("depth") == recipe.pattern:
        return found
    rest = [i for i, unit in enumerate(members) if unit.block not in spared and not (structured and found[i] >= NEARLY)]
    gone = sum(found[i] * unit.size for i, unit in enumerate(members) if i not in rest)
    for i, rate in zip(rest, _shifted(found, rest, members, recipe.sparsity, gone), strict=True):
        found[i] = rate
    return found


def _alike(members: Sequence[Unit], place: int) -> list[int]:
    """Places of the units with the same part of a block: an attention for an attention."""
    part = members[place].projections[0].sublayer
    return [i for i, unit in enumerate(members) if unit.projections[0].sublayer == part]


def _shifted(
    rates: Sequence[float], rest: Sequence[int], members: Sequence[Unit], sparsity: float, gone: float
) -> list[float]:
    """Rates of the rest, shifted so that the mean over all members is the sparsity; unchanged where none is left."""
    import torch

    from tools.prune.allocation import water_fill

    if not rest:
        return []
    sizes = torch.tensor([float(members[i].size) for i in rest])
    target = (sparsity * sum(unit.size for unit in members) - gone) / float(sizes.sum())
    wanted = torch.tensor([rates[i] for i in rest], dtype=torch.float64)
    high = max(MOST, target) if target <= 1 else 1.0
    found: list[float] = water_fill(wanted, sizes, min(1.0, max(0.0, target)), (0.0, high)).tolist()
    return found
