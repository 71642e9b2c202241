"""What waits: the plan for a yes, and what follows it or the run at work; told, and taken back."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from agent.session.talk.session import Session
from agent.session.talk.tools.tool import Group, SessionTool

Part = Literal["evaluation", "export", "recovery", "upload"]
TOOLS_OF: dict[Part, tuple[str, ...]] = {
    "evaluation": ("evaluate tasks", "perplexity", "generations", "speed"),
    "export": ("export",),
    "recovery": ("recover",),
    "upload": ("upload",),
}
"""What people call it -> the tools that do it, as they are told."""


class Queue(SessionTool):
    """What is to follow the run that works now: tell it, or take it back."""

    group: ClassVar[Group] = "run"
    at_once: ClassVar[bool] = True

    drop: bool = Field(default=False, description="True to take it back, so that nothing follows.")

    def work(self, session: Session) -> str:
        """Tell it; what is dropped is named."""
        told = ", ".join(session.queue)
        if not told:
            return "Nothing is queued."
        if self.drop:
            session.queue = ()
            return f"Taken back: {told}."
        return f"When the run has ended: {told}."


class Withdraw(SessionTool):
    """Take back one part of what follows the plan or the run at work: "without the evaluation", "leave out the
    export"."""

    group: ClassVar[Group] = "run"
    at_once: ClassVar[bool] = True

    parts: tuple[Part, ...] = Field(min_length=1, description="What is not to be done any more.")

    def work(self, session: Session) -> str:
        """Name what is taken back; where nothing of the kind follows, say so."""
        gone = [one for part in self.parts for one in _of(part, session.queue)]
        session.queue = tuple(one for one in session.queue if one not in gone)
        told = [f"Taken back: {', '.join(gone)}."] if gone else []
        told += [self._none(part, session) for part in self.parts if not _of(part, tuple(gone))]
        told += [f"What follows: {', '.join(session.queue)}."] if session.queue and not gone else []
        return " ".join(told)

    def _none(self, part: Part, session: Session) -> str:
        """That nothing of a kind follows, and where it stands instead."""
        if planned := _of(part, session.waiting):
            return f'{", ".join(planned)} is the plan that waits: "no" drops it.'
        always = " (The result of a run is always measured once at its end.)" if part == "evaluation" else ""
        return f"No {part} follows, so there is none to leave out.{always}"


class WhatWaits(SessionTool):
    """The plan that waits for a yes, and what follows it or the run at work; or what of that will be exported,
    evaluated or uploaded."""

    group: ClassVar[Group] = "look"
    at_once: ClassVar[bool] = True

    part: Part | None = Field(default=None, description="Only this of it; leave out for the whole plan.")

    def work(self, session: Session) -> str:
        """As it was shown."""
        return self._of_part(session) if self.part else self._whole(session)

    def _whole(self, session: Session) -> str:
        if session.plan:
            return session.plan
        told = [f"When the run has ended: {', '.join(session.queue)}."] if session.queue else []
        if session.run is not None and session.working:
            return "\n".join([f"Run {session.run.id} is at work: {session.run.goal}.", *told])
        return "\n".join(['No plan waits: "prune MODEL to 50 %" makes one.', *told])

    def _of_part(self, session: Session) -> str:
        """What of the kind waits or follows."""
        assert self.part is not None
        found = [*_of(self.part, session.waiting), *_of(self.part, session.queue)]
        if found:
            return f"{', '.join(found)}." + (" It waits for a yes." if session.plan else "")
        run = session.run
        if self.part == "export" and run is not None and run.model_folder.exists():
            return (
                f'No export is asked for. "export it to PLACE" would write the result of run {run.id} ({run.goal}) '
                f"out; it is in {run.model_folder}."
            )
        return f"Nothing of the kind is asked for: no {self.part} waits or follows."


def _of(part: Part, told: tuple[str, ...]) -> list[str]:
    """The calls of a part, among those that are told."""
    return [one for one in told if one.partition(" (")[0] in TOOLS_OF[part]]
