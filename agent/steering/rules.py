"""What holds of all that a person said while a run is at work, as data."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from runs.goal import Goal
from tools.recipe import Compensation, Recipe


@dataclass(frozen=True)
class Ground:
    """What of a run decides whether words can be obeyed."""

    goal: Goal
    sizes: tuple[float, ...] = ()
    """Prunable weights of every block; empty before the model was opened."""


@dataclass(frozen=True)
class Limit:
    """How much may be spent."""

    of: str
    """`candidates` or `minutes`."""
    amount: float
    more: bool
    """Whether it counts from now on; otherwise it is the whole."""
    beyond: bool = False
    """Whether it comes on top of what was allowed before."""


@dataclass(frozen=True)
class Steering:
    """The rules that hold; a recipe obeys all of them."""

    barred: frozenset[str] = frozenset()
    """Kinds of compensation that may not be used."""
    kind: str = ""
    """The one kind of structures that may fall, `width` or `depth`; empty: as the goal says."""
    avoided: frozenset[str] = frozenset()
    """Terminals and functions that no metric may have."""
    preferred: frozenset[str] = frozenset()
    """Those that every second proposal has, where breeding finds such."""
    spared: frozenset[int] = frozenset()
    """Blocks of which nothing falls."""
    uniform: bool = False
    """Whether every layer gives the same share."""

    @property
    def binds(self) -> bool:
        """Whether there is any rule that a recipe can break."""
        return bool(self.barred or self.kind or self.avoided or self.spared or self.uniform)

    def objection(self, recipe: Recipe) -> str | None:
        """Which word of the person a recipe breaks, as far as the recipe alone tells: blocks need the model."""
        if recipe.compensation.kind in self.barred:
            return said(f"no {recipe.compensation}")
        if self.kind and recipe.pattern.only(self.kind) != recipe.pattern:
            return said(f"only {self.kind}")
        if used := sorted(names_in(recipe.metric) & self.avoided):
            return said(f"no {', '.join(used)} in metrics")
        return said("no allocation") if self.uniform and not recipe.allocation.uniform else None

    def __str__(self) -> str:
        parts = [f"no {name}" for name in spelled(self.barred)]
        parts += [f"only {self.kind}"] if self.kind else []
        parts += [f"no {', '.join(sorted(self.avoided))} in metrics"] if self.avoided else []
        parts += [f"{blocks(self.spared)} spared"] if self.spared else []
        return ", ".join([*parts, *(["no allocation"] if self.uniform else [])])


def said(rule: str) -> str:
    """Why a recipe is refused."""
    return f"the person said: {rule}"


def names_in(metric: str) -> frozenset[str]:
    """Terminals and functions that a formula has."""
    return frozenset(re.findall(r"\b[A-Za-z_]\w*", metric))


def spelled(kinds: Iterable[str]) -> list[str]:
    """Compensations as people read them."""
    return sorted(str(Compensation.model_validate({"kind": kind})) for kind in kinds)


def blocks(numbers: Iterable[int]) -> str:
    """`block 0`, `blocks 0, 3`."""
    found = sorted(numbers)
    return f"block{'s' if len(found) > 1 else ''} {', '.join(map(str, found))}"
