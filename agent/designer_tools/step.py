"""One step of a designer: what its tools work with, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.breeding.genes import Child, Parent
from agent.designer_tools.drafts import allocation, written
from agent.designers import Reason
from agent.kinds import parent_of
from agent.signatures import Screen
from agent.situation import Situation
from runs.candidate import Candidate
from tools.expression import METRIC
from tools.io.errors import UsageError
from tools.model.units import Granularity, units
from tools.recipe import Allocation

REFUSALS = 8
"""Refused calls before a step ends."""


@dataclass
class Step:
    """A step (reason or design) of one generation."""

    situation: Situation
    screen: Screen
    home: Path
    wanted: int
    """Drafts after which no more are taken."""
    drafts: list[Child] = field(default_factory=list)
    """Proposals that are new and can be measured."""
    thoughts: list[Reason] = field(default_factory=list)
    refused: int = 0
    """Calls that could not be done."""
    finished: bool = False
    """Whether the model ended it."""

    @property
    def done(self) -> bool:
        """Whether this step has nothing left to do."""
        return self.finished or len(self.drafts) >= self.wanted or self.refused >= REFUSALS

    @property
    def may_finish(self) -> bool:
        """Not before anything is proposed, written down or at least tried."""
        return bool(self.drafts or self.thoughts or self.refused > 1)

    def candidate(self, name: str) -> Candidate:
        """A measured candidate.

        Raises:
            UsageError: it is none.
        """
        history = self.situation.history
        found = history.candidates.get(name)
        if found is None or name in history.rejected:
            known = ", ".join(c.id for c in history.ranked()[:8])
            raise UsageError(f"{name} is not a measured candidate. The best are {known}.")
        return found

    def parent(self, name: str) -> Parent:
        """A measured candidate, as what is edited.

        Raises:
            UsageError: it is none.
        """
        return parent_of(self.candidate(name), self.situation.bench, self.situation.goal.pattern)

    def metric(self, text: str) -> str:
        """A metric in its canonical spelling.

        Raises:
            UsageError: it is malformed, or reads what is not to be had in this run.
        """
        return written(text, METRIC, self.situation.pool.metric_terminals)

    def allocation(self, asked: str | Sequence[float], width: float, granularity: Granularity) -> Allocation:
        """An allocation as a formula, or as one sparsity for every unit of the model.

        Raises:
            UsageError: it is malformed, or the pattern leaves nothing to allocate.
        """
        goal, members = self.situation.goal, units(self.situation.bench.model.architecture, granularity)
        return allocation(goal, asked, width=width, granularity=granularity, units=len(members))

    def take(self, child: Child) -> str:
        """Make a child a draft if it is new and can be measured.

        Raises:
            UsageError: it is not, or there are enough.
        """
        if len(self.drafts) >= self.wanted:
            raise UsageError(f"{self.wanted} candidates are enough for this generation: call finish")
        if self.screen.obedience is not None:  # like the exact sparsity, sparing a block is not asked of the designer
            child = replace(child, recipe=self.screen.obedience.sparing(child.recipe))
        if objection := self.screen.objection(child.recipe):
            raise UsageError(f"{objection}. Propose something else.")
        self.screen.admit(f"draft {len(self.drafts) + 1}", child.recipe)
        self.drafts.append(child)
        left = self.wanted - len(self.drafts)
        return (
            f"accepted as draft {len(self.drafts)}: {child.recipe}. {f'{left} more wanted' if left else 'Call finish'}."
        )
