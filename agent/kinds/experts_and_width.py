"""Whole experts and width together, as they are searched: the split is a gene, beside what is bred of width."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from agent.breeding.genes import Child, Operator, Parent, Pool
from agent.breeding.shapes import allocation_of, levelled
from agent.breeding.sides import METRICS, SHIFTS, sides_of
from agent.breeding.trees import random_tree
from agent.kinds import Contest, Kind
from agent.kinds.structures import FLUCTUATION, IRREPLACEABLE, LEAN, NARROW, RATES_ONLY
from agent.situation import Situation, published, remembered
from runs.candidate import Candidate, PastCandidate
from tools.expression import METRIC, format_expression, simplify
from tools.model.units import units
from tools.prune.bench import Bench
from tools.prune.experts_and_width.pattern import ExpertsAndWidth
from tools.recipe import Allocation, Compensation, Pattern, Recipe

SHARES = (1 / 2, 1 / 4, 3 / 4, 0.0)
"""How much of what falls are experts, in this program's own seeds."""


class ExpertsAndWidthKind(Kind):
    """Of `experts+width`."""

    own_seeds = True

    def parent(self, candidate: Candidate, bench: Bench, asked: Pattern) -> Parent:
        """With the rates of layers as the recipe asks for them: what falls of a layer is experts, too."""
        layers = _layers(bench)
        vector = candidate.recipe.allocation.vector
        explicit = vector is not None and len(vector) == len(layers)
        rates = vector if vector is not None and explicit else (candidate.recipe.sparsity,) * len(layers)
        return Parent(candidate.id, candidate.recipe, rates, layers)

    def seeds(self, situation: Situation) -> list[Child]:
        """Published methods of either side, what is remembered, and splits between the two."""
        pattern, repaired = sides_of(_blank(situation)), situation.pool.compensation
        found = [published(situation, name) for name in pattern.references]
        found += [child for past in situation.recalled if (child := _remembered(past, situation)) is not None]
        metric = IRREPLACEABLE if repaired else FLUCTUATION
        found += [_split(situation, share, "reap", metric) for share in SHARES]
        found += [_split(situation, SHARES[0], "frequency", metric), _split(situation, SHARES[0], "reap", FLUCTUATION)]
        return list({child.recipe.id: child for child in found}.values())

    def operators(self, pattern: Pattern, pool: Pool) -> Sequence[tuple[Operator, float]]:
        """Shifts between the sides and changes of rates; where the pool allows it, of metrics too."""
        return (*SHIFTS, *METRICS) if pool.metrics else SHIFTS

    def control_pool(self, situation: Situation) -> Pool:
        """Shares and rates alone."""
        return RATES_ONLY

    def draw(self, situation: Situation, rng: Random) -> Child:
        """Split, choice of experts, rates, metric and compensation at random."""
        recipe, layers = _blank(situation), _layers(situation.bench)
        lean = {"attention": rng.random(), "mlp": rng.random()}
        rates = levelled([lean[sublayer] for _, sublayer, _ in layers], Parent("", recipe, (), layers))
        metric = simplify(random_tree(METRIC, rng, terminals=situation.pool.metric_terminals), METRIC, "matrix")
        sides = {"share": round(rng.random(), 2), "by": rng.choice(("reap", "frequency"))}
        changes = {
            "pattern": sides_of(recipe).model_copy(update=sides),
            "metric": format_expression(metric),
            "allocation": allocation_of(rates),
            "compensation": _compensation(situation.pool.compensation and rng.random() < 0.5),
        }
        return Child(recipe.model_copy(update=changes), "draw", "drawn at random", (), designer="random")

    def start(self, situation: Situation) -> Child:
        """Split and rates at random over Wanda-sp's scores, without compensation."""
        child = self.draw(situation, situation.rng)
        plain = child.recipe.model_copy(update={"metric": "W * X", "compensation": Compensation()})
        return Child(plain, child.operator, child.why, (), designer="evolution")

    def finalists(self, contest: Contest) -> list[Candidate]:
        """The strongest reference, and the best, each with what falls in width made up for."""
        best = list(contest.ranked[: contest.count])
        if contest.compensation:
            best = [contest.twin(c) if _could_be_fitted(c.recipe) else c for c in best]
        return contest.beside_strongest(best)


KIND = ExpertsAndWidthKind()


def _could_be_fitted(recipe: Recipe) -> bool:
    return recipe.compensation.kind == "none" and sides_of(recipe).share < 1


def _compensation(repaired: bool) -> Compensation:
    return Compensation(kind="least_squares" if repaired else "none")


def _layers(bench: Bench) -> tuple[tuple[int, str, int], ...]:
    """Block, sublayer and weights of every layer of the dense model."""
    members = units(bench.model.architecture, "layer")
    return tuple((unit.block, unit.projections[0].sublayer, unit.size) for unit in members)


def _blank(situation: Situation) -> Recipe:
    """A recipe of which nothing is decided yet."""
    goal = situation.goal
    return Recipe(pattern=goal.pattern, sparsity=goal.sparsity, metric="W * X", calibration=goal.calibration)


def _split(situation: Situation, share: float, by: str, metric: str) -> Child:
    """Experts pay a share; MLPs get narrower for the rest, attention less so."""
    recipe, layers = _blank(situation), _layers(situation.bench)
    rates = [LEAN * NARROW if sublayer == "attention" else NARROW for _, sublayer, _ in layers]
    changes = {
        "pattern": sides_of(recipe).model_copy(update={"share": share, "by": by}),
        "metric": metric,
        "allocation": allocation_of(levelled(rates, Parent("", recipe, (), layers))),
        "compensation": _compensation(situation.pool.compensation),
    }
    why = f"experts by {by} pay {100 * share:.3g} % of what falls, " if share else ""
    why += f"MLPs get narrower by {metric}, attention less so"
    return Child(Recipe.model_validate(recipe.model_copy(update=changes).model_dump()), "seed", why, ())


def _remembered(past: PastCandidate, situation: Situation) -> Child | None:
    """What worked before, at this run's sparsity; None where it was another kind, or its rates are of other layers."""
    recipe, was, allocation = _blank(situation), past.recipe.pattern, past.recipe.allocation
    if not isinstance(was, ExpertsAndWidth):
        return None
    if allocation.vector is not None and len(allocation.vector) != len(_layers(situation.bench)):
        allocation = Allocation()
    repaired = situation.pool.compensation and past.recipe.compensation.kind != "none"
    changes = {
        "pattern": sides_of(recipe).model_copy(update={"share": was.share, "by": was.by}),
        "metric": past.recipe.metric,
        "allocation": allocation,
        "compensation": _compensation(repaired),
    }
    return remembered(past, recipe.model_copy(update=changes))
