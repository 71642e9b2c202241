"""Typed genetic programming on formulas: random trees, mutation, sub-tree cross-over, tournament.

Typed means that a tree makes sense by its shapes: a row reduction is only taken of something that differs within a
row, a scaling of something that differs at all, an exponent is a number, and the whole depends on every index that the
available terminals can tell apart (for a metric: on the row and on the column). After Pruner-Zero (sub-tree cross-over,
node mutation, initial depth 2 to 4), whose own search loop was never published.

All functions are pure: the same generator state gives the same tree. What they return is inside the language's limits
and reads back from its text.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import TypeVar

from tools.expression import Call, Constant, Language, Node, Terminal, depth, format_expression, size
from tools.expression.bounds import axes
from tools.expression.nodes import children, replaced, walk
from tools.expression.operators import COLUMN, MAX_EXPONENT, ROW, Axes
from tools.expression.text import format_number

T = TypeVar("T")

MAX_NODES = 24
"""Trees do not grow beyond this unless a parent was larger already: long formulas explain nothing."""

_TRIES = 64
_CONSTANT_SHARE = 0.15
_LEAF_SHARE = 0.5
_CONSTANTS = (0.1, 0.25, 0.5, 2.0, 5.0, 10.0, 100.0)
_LARGEST = 1e6
_EXPONENTS = (0.25, 0.5, 0.75, 0.8, 1.25, 1.5, 2.0, 3.0, -0.5, -1.0)
_FACTORS = (0.5, 0.8, 0.9, 1.1, 1.25, 2.0)
_WEIGHTS = {"arithmetic": 4.0, "function": 2.0, "scaling": 2.0, "rank": 1.0, "reduction": 0.5}
_IDENTITY = "skp"


def random_tree(
    language: Language, rng: Random, *, terminals: Collection[str] | None = None, levels: tuple[int, int] = (2, 4)
) -> Node:
    """A random formula.

    Args:
        language: METRIC or ALLOCATION.
        rng: the source of all chance.
        terminals: names that may be read (`outliers` draws its own M, `outliers(5)` is taken as it is); all by default.
        levels: smallest and largest depth, leaves not counted; grown half of the time, full otherwise.
    """
    names = _names(language, terminals)
    for _ in range(_TRIES):
        grow, deepest = rng.random() < 0.5, rng.randint(*levels)
        node = _grown(language, rng, names, levels[0], deepest, grow)
        if size(node) <= MAX_NODES and _makes_sense(node, language, _reach(language, names)):
            return node
    return max((_leaf(language, rng, [name]) for name in names), key=lambda leaf: len(axes(leaf, language) or ()))


def mutate(node: Node, language: Language, rng: Random, *, terminals: Collection[str] | None = None) -> Node:
    """A changed copy: another operator, terminal or constant, a new sub-tree, a wrapper, or a part left out."""
    names = _names(language, terminals)
    edits = (_change, _regrow, _wrap, _hoist)
    return _attempt(node, (node,), language, lambda: rng.choice(edits)(node, language, rng, names))


def crossover(first: Node, second: Node, language: Language, rng: Random) -> Node:
    """`first` with one of its sub-trees replaced by one of `second`."""

    def exchange() -> Node:
        index, _ = rng.choice(_sites(first))
        return replaced(first, index, rng.choice(_sites(second))[1])

    return _attempt(first, (first, second), language, exchange)


def tournament(items: Sequence[T], fitness: Callable[[T], float], rng: Random, k: int = 3) -> T:
    """The fittest (smallest value) of `k` items drawn without replacement."""
    return min(rng.sample(items, min(k, len(items))), key=fitness)


def _attempt(fallback: Node, parents: tuple[Node, ...], language: Language, make: Callable[[], Node]) -> Node:
    """The first offspring that makes sense, is no larger than it may be and is not a parent again."""
    used = {part.name for parent in parents for part in walk(parent) if isinstance(part, Terminal)}
    reach = _reach(language, sorted(used))
    largest = max(MAX_NODES, *(size(parent) for parent in parents))
    for _ in range(_TRIES):
        node = make()
        if node not in parents and size(node) <= largest and _makes_sense(node, language, reach):
            return node
    return fallback


def _names(language: Language, terminals: Collection[str] | None) -> list[str]:
    names = [*language.terminals, *language.parametrised] if terminals is None else terminals
    return sorted(names)


def _reach(language: Language, names: Sequence[str]) -> Axes:
    """The indices that formulas over these terminals can tell apart."""
    return frozenset().union(*(language.statistic(name).axes for name in names))


def _makes_sense(node: Node, language: Language, reach: Axes) -> bool:
    limits = language.limits
    if size(node) > limits.nodes or depth(node) > limits.depth or (axes(node, language) or frozenset()) < reach:
        return False
    if not all(_typed(part, language) for part in walk(node)):
        return False
    return len(format_expression(node)) <= limits.characters


def _typed(node: Node, language: Language) -> bool:
    """Does the operator get what it can work on?"""
    if not isinstance(node, Call):
        return True
    depends = axes(node.arguments[0], language) or frozenset()
    match language.operators[node.operator].kind:
        case "reduction" | "rank" if node.operator.startswith(("row_", "col_")):
            return depends >= (COLUMN if node.operator.startswith("row_") else ROW)
        case "scaling" | "rank":
            return bool(depends)
    return bool(axes(node, language))


def _leaf(language: Language, rng: Random, names: Sequence[str]) -> Terminal:
    name = rng.choice(names)
    if name in language.parametrised:
        return Terminal(f"{name}({format_number(rng.choice(language.parametrised[name].choices))})")
    return Terminal(name)


def _operator(language: Language, rng: Random, arity: int | None = None) -> str:
    choices = {
        name: _WEIGHTS[operator.kind]
        for name, operator in language.operators.items()
        if name != _IDENTITY and arity in (None, operator.arity)
    }
    return rng.choices(list(choices), list(choices.values()))[0]


def _grown(language: Language, rng: Random, names: Sequence[str], least: int, most: int, grow: bool) -> Node:
    """A tree with `least` to `most` levels of operators."""
    if most <= 0 or (least <= 0 and grow and rng.random() < _LEAF_SHARE):
        return _leaf(language, rng, names)
    first = _grown(language, rng, names, least - 1, most - 1, grow)
    return _applied(language, rng, names, first, lambda: _grown(language, rng, names, 0, most - 1, grow))


def _applied(language: Language, rng: Random, names: Sequence[str], first: Node, second: Callable[[], Node]) -> Node:
    """A random operator on `first`, and on `second()` or a constant where it takes two."""
    operator = _operator(language, rng)
    if language.operators[operator].arity == 1:
        return Call(operator, (first,))
    if operator == "**":
        return Call(operator, (first, Constant(rng.choice(_EXPONENTS))))
    other = Constant(rng.choice(_CONSTANTS)) if rng.random() < _CONSTANT_SHARE else second()
    return Call(operator, (first, other) if rng.random() < 0.5 else (other, first))


def _sites(node: Node) -> list[tuple[int, Node]]:
    """Parts that may be replaced, with their place in `walk`: all but exponents."""
    return [(place, part) for place, part, exponent in _places(node) if not exponent]


def _places(node: Node, start: int = 0) -> list[tuple[int, Node, bool]]:
    """Place, part, is it an exponent; for every part."""
    result = [(start, node, False)]
    place = start + 1
    for position, child in enumerate(children(node)):
        exponent = isinstance(node, Call) and node.operator == "**" and position == 1
        result += [(place, child, True)] if exponent else _places(child, place)
        place += size(child)
    return result


def _change(node: Node, language: Language, rng: Random, names: Sequence[str]) -> Node:
    """One operator, terminal or number replaced by another of its kind."""
    place, part, exponent = rng.choice(_places(node))
    match part:
        case Constant(value):
            largest = MAX_EXPONENT if exponent else _LARGEST
            scaled = float(f"{value * rng.choice(_FACTORS):.3g}")
            return replaced(node, place, Constant(max(-largest, min(largest, scaled))))
        case Terminal():
            return replaced(node, place, _leaf(language, rng, names))
        case Call(operator, arguments):
            other = _operator(language, rng, len(arguments))
            fits = "**" not in (operator, other)
            return replaced(node, place, Call(other, arguments)) if fits else node


def _regrow(node: Node, language: Language, rng: Random, names: Sequence[str]) -> Node:
    """One part replaced by a new small tree."""
    place, _ = rng.choice(_sites(node))
    return replaced(node, place, _grown(language, rng, names, 0, 2, grow=True))


def _wrap(node: Node, language: Language, rng: Random, names: Sequence[str]) -> Node:
    """One part put under a new operator."""
    place, part = rng.choice(_sites(node))
    wrapped = _applied(language, rng, names, part, lambda: _grown(language, rng, names, 0, 1, grow=True))
    return replaced(node, place, wrapped)


def _hoist(node: Node, language: Language, rng: Random, names: Sequence[str]) -> Node:
    """One operator left out: one of its arguments takes its place."""
    calls = [(place, part) for place, part in _sites(node) if isinstance(part, Call)]
    if not calls:
        return node
    place, part = rng.choice(calls)
    return replaced(node, place, rng.choice(children(part)))
