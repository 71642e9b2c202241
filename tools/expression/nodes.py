"""The tree of a formula: constants, terminals and calls, frozen and hashable.

Arithmetic is a call too: the operator of `W * X` is named `*`. Every function here is pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Constant:
    """A finite real number."""

    value: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"a constant is finite, not {self.value}")


@dataclass(frozen=True, slots=True)
class Terminal:
    """A statistic that the formula reads; a parametrised one carries its constant in the name: `outliers(5)`."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """An operator of the language applied to its arguments."""

    operator: str
    arguments: tuple[Node, ...]


Node = Constant | Terminal | Call


def children(node: Node) -> tuple[Node, ...]:
    """The arguments of a call; none of a terminal or a constant."""
    return node.arguments if isinstance(node, Call) else ()


def walk(node: Node) -> Iterator[Node]:
    """Every node, parents before children, left before right."""
    yield node
    for child in children(node):
        yield from walk(child)


def size(node: Node) -> int:
    """Number of nodes."""
    return sum(1 for _ in walk(node))


def depth(node: Node) -> int:
    """Number of nodes on the longest way from the root to a leaf; 1 for a leaf."""
    return 1 + max((depth(child) for child in children(node)), default=0)


def used_terminals(node: Node) -> frozenset[str]:
    """Names of the terminals that the formula reads."""
    return frozenset(part.name for part in walk(node) if isinstance(part, Terminal))


def replaced(node: Node, index: int, new: Node) -> Node:
    """A copy of `node` whose `index`-th part, counted as `walk` counts, is `new`."""
    if index == 0:
        return new
    index -= 1
    arguments = list(children(node))
    for position, child in enumerate(arguments):
        length = size(child)
        if index < length:
            arguments[position] = replaced(child, index, new)
            break
        index -= length
    else:
        raise IndexError("the tree has no such node")
    assert isinstance(node, Call)  # only a call has children to look through
    return Call(node.operator, tuple(arguments))
