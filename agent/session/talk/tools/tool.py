"""What a tool of the conversation is: arguments with a docstring that says when it is meant, a plan, and work."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from agent.session.talk.session import Session
from tools.io.errors import UsageError

Group = Literal["look", "run", "measure", "deliver", "talk"]


class NoResult(UsageError):
    """What is asked for needs the result of a run, and there is none yet."""


class SessionTool(BaseModel):
    """One thing that a person, or a language model in their name, may ask for; unknown arguments are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    group: ClassVar[Group]
    agreed_ahead: ClassVar[bool] = False
    """Whether a yes to an order is a yes to this behind it: its plan tells no more than its arguments, which were shown
    with that order."""
    alone: ClassVar[bool] = False
    """Whether it cannot be done beside a run at work: it is queued for the end of that."""

    at_once: ClassVar[bool] = False
    """Whether it is about what waits, so that it never waits itself."""

    @classmethod
    def called(cls) -> str:
        """Its name as models call it: `LayerStatistics` is `layer_statistics`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    def plan(self, session: Session) -> str:
        """What it would do and cost, to be approved; empty where it is done at once.

        Raises:
            SecateurError: it cannot be done, which is said before anybody is asked.
        """
        return ""

    def work(self, session: Session) -> str:
        """Do it; returns what was found or done, every number with the id of what it was measured on.

        Raises:
            SecateurError: it cannot be done.
        """
        raise NotImplementedError
