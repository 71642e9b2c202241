"""What is known: the standing of a run, its candidates, lessons, and runs of before."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from agent.session.talk import advice
from agent.session.talk.past import listed
from agent.session.talk.session import Session
from agent.session.talk.tools.tool import Group, SessionTool

CANDIDATE = r"^c-\d+$"


class Standing(SessionTool):
    """How the run stands: the best candidates so far, and whether the winner beats the references."""

    group: ClassVar[Group] = "look"

    def work(self, session: Session) -> str:
        """From the journal."""
        return advice.standing(session.history())


class Candidates(SessionTool):
    """What candidates are, why they were made, and what was measured."""

    group: ClassVar[Group] = "look"

    names: tuple[str, ...] = Field(min_length=1, max_length=10, description="c-1, c-2.")

    def work(self, session: Session) -> str:
        """One paragraph each."""
        return advice.about(session.history(), self.names)


class Compare(SessionTool):
    """Two candidates side by side: in what they differ, and by how much one is better."""

    group: ClassVar[Group] = "look"

    one: str = Field(pattern=CANDIDATE)
    other: str = Field(pattern=CANDIDATE)

    def work(self, session: Session) -> str:
        """From the journal."""
        return advice.compare(session.history(), self.one, self.other)


class Lessons(SessionTool):
    """What the run has learnt: which features of recipes go with fitness, with the evidence."""

    group: ClassVar[Group] = "look"

    def work(self, session: Session) -> str:
        """From the thought graph."""
        return advice.lessons(session.history())


class Pattern(SessionTool):
    """What was measured with an N:M pattern, here or in earlier runs."""

    group: ClassVar[Group] = "look"

    pattern: str = Field(pattern=r"^\d+:\d+$")

    def work(self, session: Session) -> str:
        """From this run, else from memory."""
        from memory.index import Memory

        return advice.about_pattern(self.pattern, session.history(), Memory(session.settings.home).all())


class PastRuns(SessionTool):
    """Which runs there are, newest first: their goals, states and results."""

    group: ClassVar[Group] = "look"

    words: str = Field(default="", max_length=200, description="Words of the goal or the id; empty for all.")

    def work(self, session: Session) -> str:
        """From the home."""
        return listed(session.settings.home, self.words)
