"""Designers propose recipes. The protocol, and what a designer says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from agent.breeding.genes import Child
from agent.situation import Situation

ThoughtKind = Literal["observation", "hypothesis", "lesson"]


@dataclass(frozen=True)
class Reason:
    """A thought, and the ids of what it is drawn from, supports and contradicts."""

    text: str
    about: tuple[str, ...] = ()
    kind: ThoughtKind = "observation"
    supports: tuple[str, ...] = ()
    contradicts: tuple[str, ...] = ()
    topic: str = ""


class Designer(Protocol):
    """Who invents the candidates."""

    name: str

    def reason(self, situation: Situation) -> list[Reason]:
        """Say what the statistics and the measurements so far suggest."""
        ...

    def seeds(self, situation: Situation) -> list[Child]:
        """The first generation."""
        ...

    def propose(self, situation: Situation, fresh: Callable[[Child], bool], count: int) -> list[Child]:
        """`count` candidates for the next generation; `fresh` says whether one is valid and not yet known."""
        ...
