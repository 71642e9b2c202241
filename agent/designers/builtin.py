"""The builtin designer: no LLM. Typed genetic programming over recipes, with reasons computed from statistics.

It goes through the same graph and the same screening as any other designer and is the control that an LLM has to beat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from agent.breeding.genes import Child, Pool, breed
from agent.breeding.trees import tournament
from agent.designers import Reason
from agent.kinds import kind_of
from agent.situation import Situation
from runs.fold.history import History
from runs.fold.thoughts import gain_over_parent

ATTEMPTS = 40
"""Draws per wanted candidate before a generation is left smaller."""


class Builtin:
    """Genetic programming with seeds from the named metrics, the named allocations and memory."""

    name = "builtin"

    def reason(self, situation: Situation) -> list[Reason]:
        """What stands out over depth at first; later what each edit of the last generation saved, in nats."""
        history = situation.history
        if situation.generation == 0:
            return [] if history.survey is None else [Reason(line) for line in _about_layers(history.survey.units)]
        return list(_about_edits(history, situation.generation - 1))

    def seeds(self, situation: Situation) -> list[Child]:
        """Those of the pattern's kind."""
        return kind_of(situation.goal.pattern).seeds(situation)

    def pool(self, situation: Situation) -> Pool:
        """What is bred from."""
        return kind_of(situation.goal.pattern).pool(situation)

    def propose(self, situation: Situation, fresh: Callable[[Child], bool], count: int) -> list[Child]:
        """Bred children, no two alike; fewer than `count`, or none, where breeding finds nothing fresh."""
        if not kind_of(situation.goal.pattern).designed:
            return []  # the published methods are all there is to try
        found: list[Child] = []
        pleased, patience = (count + 1) // 2, ATTEMPTS * count // 2
        for attempt in range(ATTEMPTS * count):
            if len(found) == count:
                break
            child = self.child(situation)
            child = None if child is None else situation.obedience.child(child)
            if child is None or (
                len(found) < pleased and attempt < patience and not situation.obedience.pleases(child)
            ):
                continue
            if all(child.recipe != c.recipe for c in found) and fresh(child):
                found.append(child)
        return found

    def child(self, situation: Situation) -> Child | None:
        """A child of two parents that won tournaments; None where the operator that was drawn does not fit them."""
        population = list(situation.population)
        place = {parent.id: float(i) for i, parent in enumerate(population)}
        first = tournament(population, lambda p: place[p.id], situation.rng)
        second = tournament(population, lambda p: place[p.id], situation.rng, k=2)
        pool = self.pool(situation)
        operators = kind_of(first.recipe.pattern).operators(first.recipe.pattern, pool)
        return breed(first, second, pool, situation.rng, operators)


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
