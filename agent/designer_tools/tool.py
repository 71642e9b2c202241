"""What a tool is: a name, arguments, work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from agent.designer_tools.arguments import Arguments
from agent.designer_tools.step import Step
from runs.goal import Goal

Taken = TypeVar("Taken", bound=Arguments)


def always(goal: Goal) -> bool:
    """For every run."""
    return True


@dataclass(frozen=True)
class Tool(Generic[Taken]):
    """One thing that a language model may ask for."""

    name: str
    """As the model calls it and journals know it."""
    arguments: type[Taken]
    work: Callable[[Step, Taken], str]
    """What is answered; a `SecateurError` refuses and says what to mend."""
    fits: Callable[[Goal], bool] = always
    """Whether it means anything in a run."""
