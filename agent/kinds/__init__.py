"""What designers without a language model, and the end of a search, do with each kind of pattern.

The table of ways (`tools.recipe.pattern`) says how a kind is applied; this one, what is bred from it. A kind that is
not in it is compared only: its published methods are measured, and the best is delivered.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from random import Random
from typing import TYPE_CHECKING

from agent.breeding.genes import Child, Operator, Parent, Pool
from runs.candidate import Candidate
from runs.fold.history import History
from tools.recipe import Pattern, Recipe

if TYPE_CHECKING:
    from agent.situation import Situation
    from tools.prune.bench import Bench

KINDS: Mapping[str, str] = {
    "weights": "agent.kinds.weights",
    "structures": "agent.kinds.structures",
    "experts and structures": "agent.kinds.experts_and_width",
}
"""What falls -> the module with its `KIND`."""
COMPARED = "agent.kinds.compared"


@dataclass(frozen=True)
class Contest:
    """What finalists are chosen from."""

    history: History
    ranked: Sequence[Candidate]
    """All that were measured, the best first."""
    count: int
    """How many are wanted, beside the strongest reference."""
    rivals: Mapping[str, Recipe]
    """The references by name."""
    compensation: bool
    """Whether what stays may be updated."""
    twin: Callable[[Candidate], Candidate]
    """The candidate with the pattern's own compensation, as a candidate of its own."""

    def beside_strongest(self, best: Sequence[Candidate]) -> list[Candidate]:
        """The strongest reference that was measured, then the best; each once."""
        rivals = list(self.rivals.values())
        strongest = [c for c in self.ranked if c.recipe in rivals][:1]
        return list({c.id: c for c in (*strongest, *best)}.values())


class Kind(ABC):
    """One kind of pattern, as it is searched. What most kinds do is here; each says where it does otherwise."""

    designed: bool = True
    """Whether there is more to try than the published methods."""
    own_seeds: bool = False
    """Whether most seeds are this program's own, so that controls do without."""

    @abstractmethod
    def parent(self, candidate: Candidate, bench: Bench, asked: Pattern) -> Parent:
        """A candidate as operators and tools see it, with what its allocation comes to on the bench's model."""

    @abstractmethod
    def seeds(self, situation: Situation) -> list[Child]:
        """The first generation: what is published, what memory recalls, and starts of this program's own."""

    @abstractmethod
    def operators(self, pattern: Pattern, pool: Pool) -> Sequence[tuple[Operator, float]]:
        """What children are bred by, with weights."""

    def pool(self, situation: Situation) -> Pool:
        """What the builtin designer draws from."""
        return situation.pool

    def control_pool(self, situation: Situation) -> Pool:
        """What a conventional evolutionary algorithm draws from."""
        return situation.pool

    @abstractmethod
    def draw(self, situation: Situation, rng: Random) -> Child:
        """A candidate that owes nothing to those before it."""

    def start(self, situation: Situation) -> Child:
        """A candidate that the conventional algorithm starts from."""
        return self.draw(situation, situation.rng)

    @abstractmethod
    def finalists(self, contest: Contest) -> list[Candidate]:
        """Those that are made in their final form."""


def kind_of(pattern: Pattern) -> Kind:
    """How a pattern is searched."""
    kind: Kind = import_module(KINDS.get(pattern.fells, COMPARED)).KIND
    return kind


def parent_of(candidate: Candidate, bench: Bench, asked: Pattern) -> Parent:
    """A candidate as operators and tools see it, under the pattern that was asked for."""
    return kind_of(candidate.recipe.pattern).parent(candidate, bench, asked)
