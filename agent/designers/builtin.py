"""The builtin designer: no LLM. Typed genetic programming over recipes, with reasons computed from statistics.

It goes through the same graph and the same screening as any other designer and is the control that an LLM has to beat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from agent.breeding.genes import Child, Pool, breed
from agent.breeding.trees import tournament
from agent.designers import Reason, Situation, remembered
from agent.designers.shapes import structured_seeds
from runs.events import PastCandidate
from runs.fold.history import History
from runs.fold.thoughts import gain_over_parent
from tools.recipe import NM, Allocation, Compensation, Experts, Recipe, Structured
from tools.recipe.methods import reference, references

ATTEMPTS = 40
"""Draws per wanted candidate before a generation is left smaller."""
SEED_ALLOCATIONS = (
    Allocation(expression="softmax(z(skew))", width=0.1),
    Allocation(expression="-depth", width=0.1),
    Allocation(expression="redundancy", width=0.05),
)
"""SDSA, ATP and block redundancy (ShortGPT) at moderate widths."""


class Builtin:
    """Genetic programming with seeds from the named metrics, the named allocations and memory."""

    name = "builtin"

    def reason(self, situation: Situation) -> list[Reason]:
        history = situation.history
        if situation.generation == 0:
            return [] if history.survey is None else [Reason(line) for line in _about_layers(history.survey.units)]
        return list(_about_edits(history, situation.generation - 1))

    def seeds(self, situation: Situation) -> list[Child]:
        """References first, then what memory recalls, named metrics, and named allocations on Wanda's metric."""
        goal = situation.goal
        if isinstance(goal.pattern, Experts):
            return [self._named(situation, name) for name in references(goal.pattern)]
        if isinstance(goal.pattern, Structured):
            return structured_seeds(situation, goal.pattern)
        wanda = self._named(situation, "wanda")
        found = [wanda]
        if situation.pool.compensation:
            both = wanda.recipe.model_copy(update={"compensation": Compensation(kind="obs")})
            found += [self._named(situation, "sparsegpt"), Child(both, "seed", "Wanda's masks with the OBS update", ())]
        own = wanda.recipe.model_copy(update={"pattern": goal.pattern})
        if own != wanda.recipe:  # the goal's comparison group is another than the paper's
            found.append(Child(own, "seed", f"Wanda's metric, {goal.pattern}", ()))
        found += [child for past in situation.recalled if (child := _adapted(past, situation)) is not None]
        if isinstance(goal.pattern, NM):
            return [*found, *(self._named(situation, name) for name in ("magnitude", "ria", "obs"))]
        found += [
            Child(own.model_copy(update={"allocation": a}), "seed", f"Wanda's metric with {a} allocation", ())
            for a in SEED_ALLOCATIONS
        ]
        return [*found, self._named(situation, "ria")]

    def _named(self, situation: Situation, name: str) -> Child:
        goal = situation.goal
        recipe = reference(name, goal.sparsity, goal.pattern, goal.calibration)
        return Child(recipe, "seed", f"published: {name} ({recipe.metric})", ())

    def pool(self, situation: Situation) -> Pool:
        """What is bred from: the run's pool, and how much every block is missed where depth falls.

        Measured, as what a block does to its input says little of that: the twelfth of SmolLM2-135M's 30 blocks changes
        it less than most others do, and is missed more than all but three.
        """
        pattern = situation.goal.pattern
        if not (isinstance(pattern, Structured) and pattern.depth):
            return situation.pool
        losses = situation.bench.layers.terminals(frozenset({"loss"}), "block")["loss"]
        return replace(situation.pool, losses=tuple(losses.tolist()))

    def propose(self, situation: Situation, fresh: Callable[[Child], bool], count: int) -> list[Child]:
        if isinstance(situation.goal.pattern, Experts):
            return []  # the published scores are all there is to try
        found: list[Child] = []
        for _ in range(ATTEMPTS * count):
            if len(found) == count:
                break
            child = self.child(situation)
            if child is not None and all(child.recipe != c.recipe for c in found) and fresh(child):
                found.append(child)
        return found

    def child(self, situation: Situation) -> Child | None:
        """A child of two parents that won tournaments; None where the operator that was drawn does not fit them."""
        population = list(situation.population)
        place = {parent.id: float(i) for i, parent in enumerate(population)}
        first = tournament(population, lambda p: place[p.id], situation.rng)
        second = tournament(population, lambda p: place[p.id], situation.rng, k=2)
        return breed(first, second, self.pool(situation), situation.rng)


def _adapted(past: PastCandidate, situation: Situation) -> Child | None:
    """A remembered recipe at this run's sparsity, pattern and calibration; None where it does not fit."""
    if isinstance(past.recipe.pattern, Structured | Experts):
        return None  # its metric speaks of structures
    goal = situation.goal
    allocation, compensation = past.recipe.allocation, past.recipe.compensation
    if isinstance(goal.pattern, NM) or allocation.vector is not None:
        allocation = Allocation()
    if not situation.pool.compensation:
        compensation = Compensation()
    pattern = past.recipe.pattern if past.recipe.pattern.kind == goal.pattern.kind == "unstructured" else goal.pattern
    recipe = Recipe(
        pattern=pattern,
        sparsity=goal.sparsity,
        metric=past.recipe.metric,
        allocation=allocation,
        compensation=compensation,
        calibration=goal.calibration,
    )
    return remembered(past, recipe)


def _about_edits(history: History, generation: int) -> Iterator[Reason]:
    """What the edits of a generation did, where child and parent were measured alike."""
    for child in history.generation(generation):
        saved = gain_over_parent(child, history.candidates, history.divergences)
        if saved is not None:
            word = "helped" if saved > 0 else "hurt"
            yield Reason(f"{child.operator} {word} by {abs(saved):.4f} nats: {child.why}", about=(child.id,))


def _about_layers(units: dict[str, tuple[float, ...]]) -> list[str]:
    """What stands out in the statistics over depth."""
    found = []
    for name, advice in (
        ("skew", "its few large weights deserve protection (SDSA)"),
        ("outliers", "it holds the most outlying scores (OWL)"),
        ("redundancy", "it changes its input the most, so removing weights there should cost the most"),
    ):
        values = units.get(name, ())
        if len(values) > 1:
            top = max(range(len(values)), key=values.__getitem__)
            rest = sorted(v for i, v in enumerate(values) if i != top)
            middle = rest[len(rest) // 2]
            found.append(f"Block {top} has {name} {values[top]:.3g} against a median of {middle:.3g}: {advice}.")
    return found
