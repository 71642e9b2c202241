"""`compare`: measured candidates side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from agent.designer_tools.arguments import Arguments, CandidateName
from agent.designer_tools.step import Step
from agent.designer_tools.tool import Tool
from tools.io.errors import UsageError

if TYPE_CHECKING:
    from runs.fold.history import History


class Compare(Arguments):
    """Put measured candidates side by side."""

    candidates: list[CandidateName] = Field(min_length=1, max_length=8)


def compare(step: Step, asked: Compare) -> str:
    """One line per candidate: numbers at every fidelity, recipe, parents.

    Raises:
        UsageError: a candidate is not known.
    """
    return "\n".join(_line(step.situation.history, name) for name in asked.candidates)


def divergences(history: History, name: str) -> str:
    """What a candidate measured at every fidelity; nothing where it was not measured."""
    found = history.divergences.get(name, {})
    return ", ".join(f"KL {m.value:.4f} over {tokens:,} tokens" for tokens, m in sorted(found.items()))


def _line(history: History, name: str) -> str:
    if name not in history.candidates:
        raise UsageError(f"{name} is not known. Candidates are c-1 to c-{len(history.candidates)}.")
    candidate, fate = history.candidates[name], history.rejected.get(name)
    numbers = divergences(history, name) or (f"rejected: {fate}" if fate else "not measured")
    parents = f" from {', '.join(candidate.parents)}" if candidate.parents else ""
    return f"{name}: {numbers}: {candidate.recipe}{parents}"


TOOL = Tool("compare", Compare, compare)
