"""What a designer decides on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

from agent.breeding.genes import Child, Parent, Pool
from runs.candidate import PastCandidate
from runs.goal import Goal
from tools.expression import METRIC
from tools.recipe import Recipe
from tools.recipe.methods import reference

if TYPE_CHECKING:
    from agent.signatures import Screen, Signatures
    from agent.steering.obedience import Obedience
    from runs.fold.history import History
    from tools.prune.bench import Bench


@dataclass(frozen=True)
class Situation:
    """What is known when a generation is designed; goal, population and pool are as the person steers."""

    goal: Goal
    generation: int
    history: History
    bench: Bench
    population: Sequence[Parent]
    """Best first."""
    recalled: Sequence[PastCandidate]
    pool: Pool
    rng: Random
    """All chance of this generation: the same for every attempt at it."""
    signatures: Signatures
    """Of every recipe that was looked at."""
    obedience: Obedience
    """What the person said so far, and what obeys it."""
    part: int = 1
    """Number of the conversation, where a design step is split into several."""

    def conversation(self, part: int) -> Situation:
        """The same for another conversation of this step, which draws its own chance from the second on."""
        if part == 1:
            return self
        return replace(self, part=part, rng=Random(f"{self.goal.seed}/{self.generation}/{part}"))

    def topic(self, step: str) -> str:
        """What calls of a step are named after: `3/design`, and `3/design-2` in its second conversation."""
        return f"{self.generation}/{step}{'' if self.part == 1 else f'-{self.part}'}"

    @property
    def known(self) -> Screen:
        """A screen for what a language model proposes: what was rejected may come again, changed."""
        return self.signatures.screen(self.history.alive_before(self.generation), self.obedience)


EXPENSIVE = frozenset({"G", "R"})
"""Terminals that need back-propagation: left out on a CPU, where they cost more than the rest of a run."""


def pool_of(goal: Goal) -> Pool:
    """What a designer may draw from in a run."""
    terminals = frozenset(METRIC.terminals) - (EXPENSIVE if goal.device == "cpu" else frozenset())
    if not goal.compensation_allowed:
        terminals -= {"D"}
    return Pool(terminals, goal.compensation_allowed)


def remembered(past: PastCandidate, recipe: Recipe) -> Child:
    """A seed that memory gave, in the form that this run can use."""
    return Child(recipe, "recall", f"worked in {past.id} on {past.model}, similarity {past.similarity:.2f}", ())


def published(situation: Situation, name: str) -> Child:
    """A published method as a seed."""
    goal = situation.goal
    recipe = reference(name, goal.sparsity, goal.pattern, goal.calibration)
    return Child(recipe, "seed", f"published: {name} ({recipe.metric})", ())
