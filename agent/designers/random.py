"""Random search: the control that says what evolution and language models are worth. No LLM, no selection.

Every candidate is drawn anew: a random metric with random allocation and compensation; what was measured before is not
looked at. Everything around it is that of `builtin`, and so are the seeds where they are published recipes; where
structures fall most seeds are this program's own, so the control does without.
"""

from __future__ import annotations

from agent.breeding.genes import Child
from agent.designers.builtin import Builtin
from agent.kinds import kind_of
from agent.situation import Situation

POPULATION = 8
"""Candidates of a first generation that is drawn."""


class RandomSearch(Builtin):
    """Draws candidates from the space that `builtin` searches."""

    name = "random"

    def seeds(self, situation: Situation) -> list[Child]:
        """The builtin designer's, or drawn ones where most of those are this program's own."""
        if not kind_of(situation.goal.pattern).own_seeds:
            return super().seeds(situation)
        return [self.child(situation) for _ in range(POPULATION)]

    def child(self, situation: Situation) -> Child:
        """Drawn anew: no parents."""
        return kind_of(situation.goal.pattern).draw(situation, situation.rng)
