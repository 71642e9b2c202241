"""Who is beaten by nobody in size and quality, for the report and for screens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

_SAME_SIZE = 3
"""Decimals of a sparsity: a run may miss what was asked for by 0.1 %, which makes it no other size."""


class Sized(Protocol):
    """What was measured on the held-out text."""

    @property
    def sparsity(self) -> float:
        """The share that is gone, 0 to 1."""
        ...

    @property
    def perplexity(self) -> float:
        """Lower is better."""
        ...


S = TypeVar("S", bound=Sized)


def front(measured: Iterable[S]) -> list[S]:
    """Those that no other beats in both sparsity and perplexity, the densest first."""
    found: list[S] = []
    for one in sorted(measured, key=lambda one: (-round(one.sparsity, _SAME_SIZE), one.perplexity)):
        if not found or one.perplexity < found[-1].perplexity:
            found.append(one)
    return found[::-1]
