"""Designers propose recipes. The protocol, and what a designer gets to see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Literal, Protocol

from agent.breeding.genes import Child, Parent, Pool
from agent.breeding.shapes import allocation_of
from runs.candidate import Candidate
from runs.events import PastCandidate
from runs.goal import Goal
from tools.expression import METRIC
from tools.prune.allocation import units
from tools.recipe import NM, Experts, Pattern, Recipe, Structured

if TYPE_CHECKING:
    from runs.fold.history import History
    from tools.prune.bench import Workbench


EXPENSIVE = frozenset({"G", "R"})
"""Terminals that need back-propagation: left out on a CPU, where they cost more than the rest of a run."""


def pool_of(goal: Goal) -> Pool:
    """What a designer may draw from in a run."""
    terminals = frozenset(METRIC.terminals) - (EXPENSIVE if goal.device == "cpu" else frozenset())
    if not goal.compensation_allowed:
        terminals -= {"D"}
    return Pool(terminals, goal.compensation_allowed)


def parent_of(candidate: Candidate, bench: Workbench, pattern: Pattern) -> Parent:
    """A candidate as operators and tools see it, with what its allocation comes to on the bench's model."""
    recipe = candidate.recipe
    if isinstance(recipe.pattern, NM | Experts):
        return Parent(candidate.id, recipe)
    sparsity = bench.ready(recipe).sparsity
    structured = isinstance(recipe.pattern, Structured)
    members = units(bench.model.architecture, "layer" if structured else recipe.allocation.granularity)
    rates = tuple(sparsity[unit.projections[0].name] for unit in members)
    layers = tuple((unit.block, unit.projections[0].sublayer, unit.size) for unit in members) if structured else ()
    return _lifted(Parent(candidate.id, recipe, rates, layers), pattern)


def remembered(past: PastCandidate, recipe: Recipe) -> Child:
    """A seed that memory gave, in the form that this run can use."""
    return Child(recipe, "recall", f"worked in {past.id} on {past.model}, similarity {past.similarity:.2f}", ())


def _lifted(parent: Parent, pattern: Pattern) -> Parent:
    """The parent under the pattern that was asked for: a published method keeps its own, and what is made of it may
    use more."""
    if not isinstance(pattern, Structured) or parent.recipe.pattern == pattern or not parent.layers:
        return parent
    changed = {"pattern": pattern, "allocation": allocation_of(parent.sparsities)}
    return replace(parent, recipe=parent.recipe.model_copy(update=changed))


@dataclass(frozen=True)
class Situation:
    """What a designer decides on."""

    goal: Goal
    generation: int
    history: History
    bench: Workbench
    population: Sequence[Parent]
    """Best first."""
    recalled: Sequence[PastCandidate]
    pool: Pool
    rng: Random
    """All chance of this generation: the same for every attempt at it."""


ThoughtKind = Literal["observation", "hypothesis", "lesson"]


@dataclass(frozen=True)
class Reason:
    """A thought, and the ids of what it is drawn from, supports and contradicts."""

    text: str
    about: tuple[str, ...] = ()
    kind: ThoughtKind = "observation"
    supports: tuple[str, ...] = ()
    contradicts: tuple[str, ...] = ()
    topic: str = ""


class Designer(Protocol):
    """Who invents the candidates."""

    name: str

    def reason(self, situation: Situation) -> list[Reason]:
        """Say what the statistics and the measurements so far suggest."""
        ...

    def seeds(self, situation: Situation) -> list[Child]:
        """The first generation."""
        ...

    def propose(self, situation: Situation, fresh: Callable[[Child], bool], count: int) -> list[Child]:
        """`count` candidates for the next generation; `fresh` says whether one is valid and not yet known."""
        ...
