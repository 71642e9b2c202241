"""`write_thought`: what measurements taught, or what is worth a try."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from agent.designer_tools.arguments import Arguments, CandidateName
from agent.designer_tools.step import Step
from agent.designer_tools.tool import Tool
from agent.designers import Reason
from tools.io.errors import UsageError


class WriteThought(Arguments):
    """Write a thought down: a hypothesis to be tried, or a lesson that measurements taught."""

    kind: Literal["hypothesis", "lesson"]
    text: str = Field(min_length=10, max_length=500)
    about: list[CandidateName] = Field(max_length=6, description="The candidates it is drawn from.")
    supports: list[str] = Field(default_factory=list, max_length=4, description="Ids of earlier thoughts, as t-3.")
    contradicts: list[str] = Field(default_factory=list, max_length=4, description="Ids of earlier thoughts.")


def write_thought(step: Step, asked: WriteThought) -> str:
    """Keep a thought.

    Raises:
        UsageError: it names what is not known, or is kept already.
    """
    history = step.situation.history
    missing = [name for name in asked.about if name not in history.candidates]
    missing += [name for name in (*asked.supports, *asked.contradicts) if name not in history.thoughts]
    if missing:
        raise UsageError(f"{missing[0]} is not known: name candidates (c-3) in about and thoughts (t-2) elsewhere")
    if any(thought.text == asked.text for thought in step.thoughts):
        raise UsageError("this thought is written down already: write another one or call finish")
    about, supports, contradicts = tuple(asked.about), tuple(asked.supports), tuple(asked.contradicts)
    step.thoughts.append(Reason(asked.text, about, asked.kind, supports, contradicts))
    return f"written down ({len(step.thoughts)})"


TOOL = Tool("write_thought", WriteThought, write_thought)
