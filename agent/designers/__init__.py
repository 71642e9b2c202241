"""Designers propose recipes. The protocol, and what a designer gets to see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from agent.evolution.genes import Child, Parent, Pool
from runs.events import PastCandidate
from runs.goal import Goal


@dataclass(frozen=True)
class Situation:
    """What a designer decides on."""

    goal: Goal
    generation: int
    population: Sequence[Parent]
    """Best first."""
    recalled: Sequence[PastCandidate]
    pool: Pool
    rng: Random
    """All chance of this generation: the same for every attempt at it."""


@dataclass(frozen=True)
class Reason:
    """A line of reasoning and the candidates it is about."""

    text: str
    about: tuple[str, ...] = ()


class Designer(Protocol):
    """Who invents the candidates."""

    name: str

    def reason(self, situation: Situation, units: dict[str, tuple[float, ...]], gains: Sequence[str]) -> list[Reason]:
        """Say what the statistics and the measurements so far suggest."""
        ...

    def seeds(self, situation: Situation) -> list[Child]:
        """The first generation."""
        ...

    def propose(self, situation: Situation, fresh: Callable[[Child], bool], count: int) -> list[Child]:
        """`count` candidates for the next generation; `fresh` says whether one is valid and not yet known."""
        ...
