"""A kind of which only the published methods are tried: experts, and whatever nobody has a better idea for."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from agent.breeding.genes import Child, Operator, Parent, Pool
from agent.kinds import Contest, Kind
from agent.situation import Situation, published
from runs.candidate import Candidate
from tools.prune.bench import Bench
from tools.recipe import Pattern


class Compared(Kind):
    """Measures what is published and takes the best."""

    designed = False

    def parent(self, candidate: Candidate, bench: Bench, asked: Pattern) -> Parent:
        """The recipe as it is: nothing is allocated."""
        return Parent(candidate.id, candidate.recipe)

    def seeds(self, situation: Situation) -> list[Child]:
        """Every published method of the pattern."""
        return [published(situation, name) for name in situation.goal.pattern.references]

    def operators(self, pattern: Pattern, pool: Pool) -> Sequence[tuple[Operator, float]]:
        """None: nothing is bred."""
        return ()

    def draw(self, situation: Situation, rng: Random) -> Child:
        """A published method at random."""
        return rng.choice(self.seeds(situation))

    def finalists(self, contest: Contest) -> list[Candidate]:
        """The strongest reference that was measured, and the best."""
        return contest.beside_strongest(contest.ranked[: contest.count])


KIND = Compared()
