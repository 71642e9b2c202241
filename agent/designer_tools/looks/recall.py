"""`recall`: what past runs left in memory."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from agent.designer_tools.arguments import Arguments
from agent.designer_tools.step import Step
from agent.designer_tools.tool import Tool

MOST = 6
"""Memories in one answer."""


class Recall(Arguments):
    """Search the memory of past runs by words of model, metric, allocation or pattern."""

    words: str = Field(max_length=80)


def recall(step: Step, asked: Recall) -> str:
    """The best memories that name every word."""
    from memory.index import Memory

    found = Memory(step.home).search(asked.words)[:MOST]
    lines = [f"{len(found)} memories; relative is the divergence over the best reference's, below 1 it won"]
    for item in found:
        relative = "unknown" if item.relative is None else f"{item.relative:.3f}"
        lines.append(f"  {item.id} on {Path(item.model).name}: relative {relative}: {item.recipe}")
    return "\n".join(lines)


TOOL = Tool("recall", Recall, recall, fits=lambda goal: goal.recall)
