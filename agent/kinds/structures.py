"""Whole structures, as they are searched: rates of layers are the genes, beside metric and compensation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from agent.breeding.genes import Child, Operator, Parent, Pool, mix, mutate_metric
from agent.breeding.shapes import GONE, SHAPES, allocation_of, levelled, mostly_blocks
from agent.breeding.trees import random_tree
from agent.kinds import Contest, Kind
from agent.situation import Situation, published, remembered
from runs.candidate import Candidate, PastCandidate
from tools.expression import METRIC, format_expression, simplify
from tools.model.units import Granularity, units
from tools.prune.bench import Bench
from tools.recipe import Allocation, Compensation, Pattern, Recipe, Structured

IRREPLACEABLE = "W * X_var / D"
"""How much a channel fluctuates (FLAP) and how little the others can stand in for it (OBS). Where the matrices that
read what fell are fitted anew it is better than FLAP's metric: on SmolLM2-135M with half of it whole blocks, KL was
0.57 against 0.61 at 20 %, with a third 0.98 against 1.02 at 30 % and 1.59 against 1.64 at 50 % (1,024 tokens of C4)."""
FLUCTUATION = "W * sqr(X_var)"
"""Next to it, and without Gram matrices: 0.60, 0.99 and 1.59 there."""
DEPTHS = (1 / 3, 1 / 2, 2 / 3)
"""How much of what falls are whole blocks, in the seeds that mix both."""
NARROW = 0.1
"""Rate of MLPs before all rates are levelled to the budget."""
LEAN = 0.25
"""Rate of attention over that of MLPs in the mixed seeds. On SmolLM2-135M at 50 %, 5 of 30 blocks gone and the rest
fitted by least squares, KL was 1.80 with equal rates and 1.64 with all heads kept."""


RATES_ONLY = Pool(frozenset(), compensation=False, metrics=False)


class Structures(Kind):
    """Of `width`, `depth` and `width+depth`."""

    own_seeds = True

    def parent(self, candidate: Candidate, bench: Bench, asked: Pattern) -> Parent:
        """Lifted to the pattern that was asked for: a published method keeps its own, and what is made of it may use
        more."""
        recipe, sparsity = candidate.recipe, bench.prepare(candidate.recipe).sparsity
        members = units(bench.model.architecture, "layer")
        rates = tuple(sparsity[unit.projections[0].name] for unit in members)
        layers = tuple((unit.block, unit.projections[0].sublayer, unit.size) for unit in members)
        if recipe.pattern != asked:
            recipe = recipe.model_copy(update={"pattern": asked, "allocation": allocation_of(rates)})
        return Parent(candidate.id, recipe, rates, layers)

    def seeds(self, situation: Situation) -> list[Child]:
        """Published methods, the same with least squares, and width mixed with depth."""
        return structured_seeds(situation, _asked(situation))

    def operators(self, pattern: Pattern, pool: Pool) -> Sequence[tuple[Operator, float]]:
        """Changes of rates; where width falls and the pool allows it, of metrics too."""
        assert isinstance(pattern, Structured), "the table of kinds says so"
        return (*SHAPES, (mix, 2.0), (mutate_metric, 1.0)) if pattern.width and pool.metrics else SHAPES

    def pool(self, situation: Situation) -> Pool:
        """With how much every block is missed, where depth falls.

        Measured, as what a block does to its input says little of that: the twelfth of SmolLM2-135M's 30 blocks changes
        it less than most others do, and is missed more than all but three.
        """
        if not situation.goal.pattern.whole_blocks:
            return situation.pool
        losses = situation.bench.layers.terminals(frozenset({"loss"}), "block")["loss"]
        return replace(situation.pool, losses=tuple(losses.tolist()))

    def control_pool(self, situation: Situation) -> Pool:
        """Rates alone, as Self-Pruner evolves them."""
        return RATES_ONLY

    def draw(self, situation: Situation, rng: Random) -> Child:
        """Rates, metric and compensation at random."""
        return drawn(situation, _asked(situation), rng, "random")

    def start(self, situation: Situation) -> Child:
        """Self-Pruner's: rates at random over Wanda-sp's scores, without compensation."""
        child = self.draw(situation, situation.rng)
        plain = child.recipe.model_copy(update={"metric": "W * X", "compensation": Compensation()})
        return Child(plain, child.operator, child.why, (), designer="evolution")

    def finalists(self, contest: Contest) -> list[Candidate]:
        """The strongest reference, and the best of mostly width and of mostly depth where they are near the best.

        What fitting can mend of blocks that are gone shows in the final form only. On SmolLM2-135M at 30 %, KL 0.94
        with 6 blocks gone became perplexity 84, 0.88 with one gone became 92.
        """
        ranked = contest.ranked
        kinds = {mostly_blocks(c.recipe): c for c in reversed(ranked)}
        near = [c for c in sorted(kinds.values(), key=ranked.index) if contest.history.near(c, ranked[0])]
        best = list({c.id: c for c in (*near, *ranked)}.values())[: contest.count]
        if contest.compensation:
            best = [contest.twin(c) if c.recipe.compensation.kind == "none" else c for c in best]
        return contest.beside_strongest(best)


KIND = Structures()


def _asked(situation: Situation) -> Structured:
    pattern = situation.goal.pattern
    assert isinstance(pattern, Structured), "the table of kinds says so"
    return pattern


def structured_seeds(situation: Situation, pattern: Structured) -> list[Child]:
    """Published methods that the pattern allows, the same with least squares, and width mixed with depth."""
    repaired, found = situation.pool.compensation, list[Child]()
    for name in pattern.references:
        seed = published(situation, name)
        if allows(pattern, seed.recipe.pattern) and (repaired or seed.recipe.compensation.kind == "none"):
            found.append(replace(seed, why=f"published: {name}"))
    found += [child for past in situation.recalled if (child := _remembered(past, situation, pattern)) is not None]
    if pattern.width:
        metric = IRREPLACEABLE if repaired else FLUCTUATION
        found.append(Child(_recipe(situation, pattern, metric, repaired), "seed", f"{metric} per structure", ()))
        found += [_mixed(situation, pattern, share, metric) for share in (0.0, *(DEPTHS if pattern.depth else ()))]
        found.append(_mixed(situation, pattern, 1 / 2 if pattern.depth else 0.0, FLUCTUATION))
    if pattern.kind == "depth":
        for name, expression in (
            ("the most redundant blocks", "redundancy"),
            ("the last blocks", "-depth"),
            ("blocks by the outliers they hold", "outliers(5)"),
        ):
            allocation = Allocation(expression=expression, width=0.1, granularity=_granularity(pattern))
            recipe = _recipe(situation, pattern, "W * X", repaired, allocation)
            found.append(Child(recipe, "seed", f"{name} fall", ()))
    elif pattern.kind == "width" and pattern.shapes == "free":
        for expression in ("redundancy", "-depth"):
            allocation = Allocation(expression=expression, width=0.1, granularity="layer")
            recipe = _recipe(situation, pattern, "W * X", repaired, allocation)
            found.append(Child(recipe, "seed", f"widths by {expression}", ()))
    return list({child.recipe.id: child for child in found}.values())


def _remembered(past: PastCandidate, situation: Situation, pattern: Structured) -> Child | None:
    """What worked before, at this run's sparsity; None where it is no such shape, or its rates are of other layers."""
    recipe = past.recipe
    if not allows(pattern, recipe.pattern):
        return None
    parent, allocation = blank(situation, pattern), recipe.allocation
    if allocation.vector is not None:
        if len(allocation.vector) != len(parent.layers) or allocation.granularity != "layer":
            return None
        allocation = allocation_of(levelled(allocation.vector, parent))
    repaired = situation.pool.compensation and recipe.compensation.kind != "none"
    return remembered(past, _recipe(situation, pattern, recipe.metric, repaired, allocation))


def allows(asked: Structured, other: object) -> bool:
    """Whether a result of the other pattern is a result of the one asked for."""
    if not isinstance(other, Structured):
        return False
    kinds = set(other.kind.split("+")) <= set(asked.kind.split("+"))
    return kinds and (asked.shapes == "free" or other.shapes == "uniform")


def _granularity(pattern: Structured) -> Granularity:
    return "block" if pattern.shapes == "uniform" else "layer"


def _recipe(
    situation: Situation,
    pattern: Structured,
    metric: str,
    repaired: bool,
    allocation: Allocation | None = None,
) -> Recipe:
    goal = situation.goal
    return Recipe(
        pattern=pattern,
        sparsity=goal.sparsity,
        metric=metric,
        allocation=allocation or Allocation(),
        compensation=Compensation(kind="least_squares" if repaired else "none"),
        calibration=goal.calibration,
    )


def blank(situation: Situation, pattern: Structured) -> Parent:
    """A parent of which nothing is decided yet."""
    members = units(situation.bench.model.architecture, "layer")
    layers = tuple((unit.block, unit.projections[0].sublayer, unit.size) for unit in members)
    return Parent("", _recipe(situation, pattern, "W * X", False), (0.0,) * len(layers), layers)


def _mixed(situation: Situation, pattern: Structured, share: float, metric: str) -> Child:
    """The most redundant blocks fall until `share` of what has to fall is gone; width pays the rest, mostly MLPs."""
    parent, redundancy = blank(situation, pattern), situation.bench.statistics.redundancy
    count = round(share * situation.goal.sparsity * len(redundancy))
    fall = sorted(range(len(redundancy)), key=redundancy.__getitem__)[:count]
    rates = [
        GONE if block in fall else LEAN * NARROW if sublayer == "attention" else NARROW
        for block, sublayer, _ in parent.layers
    ]
    allocation = allocation_of(levelled(rates, parent))
    recipe = _recipe(situation, pattern, metric, situation.pool.compensation, allocation)
    why = f"the {count} most redundant blocks fall, " if count else ""
    return Child(recipe, "seed", f"{why}MLPs get narrower by {metric}, attention less so", ())


def drawn(situation: Situation, pattern: Structured, rng: Random, designer: str) -> Child:
    """Rates, metric and compensation at random."""
    parent = blank(situation, pattern)
    lean = {"attention": rng.random(), "mlp": rng.random()}
    rates = [rng.random() * lean[sublayer] for _, sublayer, _ in parent.layers]
    if pattern.depth:
        blocks = sorted({block for block, _, _ in parent.layers})
        most = int(situation.goal.sparsity * len(blocks))
        fall = set(rng.sample(blocks, most if not pattern.width else rng.randint(0, most)))
        rates = [GONE if block in fall else rate for (block, _, _), rate in zip(parent.layers, rates, strict=True)]
    metric = "W * X"
    if pattern.width:
        metric = format_expression(
            simplify(random_tree(METRIC, rng, terminals=situation.pool.metric_terminals), METRIC, "matrix")
        )
    repaired = situation.pool.compensation and rng.random() < 0.5
    recipe = _recipe(situation, pattern, metric, repaired, allocation_of(levelled(rates, parent)))
    return Child(recipe, "draw", "drawn at random", (), designer=designer)
