"""Single weights, as they are searched: typed genetic programming over metric, allocation and compensation."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from agent.breeding.genes import ALLOCATION_TERMINALS, GRANULARITIES, OPERATORS, WIDEST, Child, Operator, Parent, Pool
from agent.breeding.trees import random_tree
from agent.kinds import Contest, Kind
from agent.situation import Situation, published, remembered
from runs.candidate import Candidate, PastCandidate
from tools.expression import ALLOCATION, METRIC, format_expression, simplify
from tools.model.units import units
from tools.prune.bench import Bench
from tools.recipe import Allocation, Compensation, Pattern, Recipe, Unstructured

SEED_ALLOCATIONS = (
    Allocation(expression="softmax(z(skew))", width=0.1),
    Allocation(expression="-depth", width=0.1),
    Allocation(expression="redundancy", width=0.05),
)
"""SDSA, ATP and block redundancy (ShortGPT) at moderate widths."""


class Weights(Kind):
    """Of `unstructured` and `n:m`."""

    def parent(self, candidate: Candidate, bench: Bench, asked: Pattern) -> Parent:
        """With the sparsity of every unit, where the pattern allocates."""
        recipe = candidate.recipe
        if not recipe.pattern.allocates:
            return Parent(candidate.id, recipe)
        sparsity = bench.prepare(recipe).sparsity
        members = units(bench.model.architecture, recipe.allocation.granularity)
        return Parent(candidate.id, recipe, tuple(sparsity[unit.projections[0].name] for unit in members))

    def seeds(self, situation: Situation) -> list[Child]:
        """References first, then what memory recalls, named metrics, and named allocations on Wanda's metric."""
        goal = situation.goal
        wanda = published(situation, "wanda")
        found = [wanda]
        if situation.pool.compensation:
            both = wanda.recipe.model_copy(update={"compensation": Compensation(kind="obs")})
            found += [published(situation, "sparsegpt"), Child(both, "seed", "Wanda's masks with the OBS update", ())]
        own = wanda.recipe.model_copy(update={"pattern": goal.pattern})
        if own != wanda.recipe:  # the goal's comparison group is another than the paper's
            found.append(Child(own, "seed", f"Wanda's metric, {goal.pattern}", ()))
        found += [child for past in situation.recalled if (child := _adapted(past, situation)) is not None]
        if not goal.pattern.allocates:
            return [*found, *(published(situation, name) for name in ("magnitude", "ria", "obs"))]
        found += [
            Child(own.model_copy(update={"allocation": a}), "seed", f"Wanda's metric with {a} allocation", ())
            for a in SEED_ALLOCATIONS
        ]
        return [*found, published(situation, "ria")]

    def operators(self, pattern: Pattern, pool: Pool) -> Sequence[tuple[Operator, float]]:
        """The same for all patterns and pools."""
        return OPERATORS

    def draw(self, situation: Situation, rng: Random) -> Child:
        """A random metric and allocation; OBS for every second one, where what stays may be updated."""
        goal = situation.goal
        metric = simplify(random_tree(METRIC, rng, terminals=situation.pool.metric_terminals), METRIC, "row")
        compensation = situation.pool.compensation and rng.random() < 0.5
        recipe = Recipe(
            pattern=goal.pattern,
            sparsity=goal.sparsity,
            metric=format_expression(metric),
            allocation=_drawn_allocation(goal.pattern, rng),
            compensation=Compensation(kind="obs" if compensation else "none"),
            calibration=goal.calibration,
        )
        return Child(recipe, "draw", "drawn at random", (), designer="random")

    def finalists(self, contest: Contest) -> list[Candidate]:
        """The best of each league, the best without compensation with it added, and SparseGPT.

        What compensation gains shows in the final form only, where it makes up for what the layers before it lost.
        """
        plain = [c for c in contest.ranked if c.recipe.league == "none"]
        if not contest.compensation:
            return plain[: contest.count]
        control = [c for c in contest.ranked if c.recipe == contest.rivals["sparsegpt"]]
        compensated = [c for c in contest.ranked if c.recipe.league == "obs" and c not in control]
        twins = [contest.twin(c) for c in plain[:1]]
        chosen = [*twins, *compensated[: max(1, contest.count - 1)]][: contest.count]
        return list({c.recipe.id: c for c in (*control, *chosen)}.values())


KIND = Weights()


def _drawn_allocation(pattern: Pattern, rng: Random) -> Allocation:
    if not pattern.allocates or rng.random() < 0.5:
        return Allocation()
    tree = simplify(random_tree(ALLOCATION, rng, terminals=ALLOCATION_TERMINALS), ALLOCATION, "matrix")
    width = round(rng.uniform(0.01, WIDEST), 3)
    return Allocation(expression=format_expression(tree), width=width, granularity=rng.choice(GRANULARITIES))


def _adapted(past: PastCandidate, situation: Situation) -> Child | None:
    """A remembered recipe at this run's sparsity, pattern and calibration; None where it does not fit."""
    goal, was = situation.goal, past.recipe.pattern
    if was.fells != goal.pattern.fells:
        return None  # its metric speaks of structures
    allocation, compensation = past.recipe.allocation, past.recipe.compensation
    if not goal.pattern.allocates or allocation.vector is not None:
        allocation = Allocation()
    if not situation.pool.compensation:
        compensation = Compensation()
    recipe = Recipe(
        pattern=was if was.kind == goal.pattern.kind == Unstructured().kind else goal.pattern,
        sparsity=goal.sparsity,
        metric=past.recipe.metric,
        allocation=allocation,
        compensation=compensation,
        calibration=goal.calibration,
    )
    return remembered(past, recipe)
