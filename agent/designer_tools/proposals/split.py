"""`propose_split`: how much of what falls are experts, and what they are chosen by."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agent.breeding.genes import Child, Parent
from agent.breeding.sides import sides_of
from agent.designer_tools.arguments import Arguments, CandidateName, Why
from agent.designer_tools.drafts import changed
from agent.designer_tools.step import Step
from agent.designer_tools.tool import Tool
from runs.goal import Goal
from tools.prune.experts_and_width.pattern import ExpertsAndWidth

Share = Annotated[float, Field(ge=0, le=1, description="Of what falls, how much are experts; width pays the rest.")]


class ProposeSplit(Arguments):
    """Propose a candidate: a base with another split between whole experts and width."""

    share: Share
    by: Literal["frequency", "reap"]
    base: CandidateName
    why: Why


def propose_split(step: Step, asked: ProposeSplit) -> str:
    """Draft the base with that split.

    Raises:
        UsageError: the base is not measured, or it is the same again.
    """
    return step.take(divided(step.parent(asked.base), asked.share, asked.by, asked.why))


def divided(parent: Parent, share: float, by: str, why: str) -> Child:
    """The parent with another split.

    Raises:
        UsageError: it is the same again.
    """
    pattern = sides_of(parent.recipe).model_copy(update={"share": round(share, 2), "by": by})
    return changed(parent, "propose split", why, pattern=pattern)


def _two_sides(goal: Goal) -> bool:
    return isinstance(goal.pattern, ExpertsAndWidth)


TOOL = Tool("propose_split", ProposeSplit, propose_split, _two_sides)
