"""`finish`: a step ends."""

from __future__ import annotations

from pydantic import Field

from agent.designer_tools.arguments import Arguments
from agent.designer_tools.step import Step
from agent.designer_tools.tool import Tool
from tools.io.errors import UsageError


class Finish(Arguments):
    """End this step."""

    why: str = Field(max_length=300)


def finish(step: Step, asked: Finish) -> str:
    """End the step.

    Raises:
        UsageError: nothing came of it yet.
    """
    if not step.may_finish:
        raise UsageError("nothing is proposed or written down yet: do that first")
    step.finished = True
    return "done"


TOOL = Tool("finish", Finish, finish)
