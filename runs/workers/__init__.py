"""Executors measure candidates; where and how many at a time is their business."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from runs.candidate import Candidate
from tools.recipe import Recipe
from tools.recipe.measurement import Measurement


@dataclass(frozen=True)
class Measured:
    """A candidate got its number."""

    candidate: Candidate
    measurement: Measurement


@dataclass(frozen=True)
class Failed:
    """A candidate cannot be measured; `reason` is one line."""

    candidate: Candidate
    reason: str


Outcome = Measured | Failed
Outcomes = Generator[Outcome, None, None]
"""Outcomes as they come. Closing it early gives up what was not measured yet."""


class Gauge(Protocol):
    """A resident model that a recipe can be tried on."""

    def divergence(self, recipe: Recipe, tokens: int) -> Measurement:
        """Mean KL to the dense model over about `tokens` tokens of the search text.

        Raises:
            SecateurError: the recipe cannot be applied to this model.
        """
        ...


class Executor(Protocol):
    """Measures candidates."""

    def measure(self, candidates: Sequence[Candidate], tokens: int) -> Outcomes:
        """Yield one outcome per candidate as soon as it is known, in any order.

        A candidate that fails is an outcome; what else goes wrong is raised.
        """
        ...

    def close(self) -> None:
        """End what was started to measure; measuring again would start it again."""
        ...
