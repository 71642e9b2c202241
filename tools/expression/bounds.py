"""What is known of a formula's values without measuring them: an interval, the indices they depend on, positivity."""

from __future__ import annotations

import math
from collections.abc import Callable

from tools.expression.nodes import Call, Constant, Node, Terminal, children
from tools.expression.operators import COLUMN, EXP_LIMIT, LOG_OFFSET, ROW, Axes, Language

Interval = tuple[float, float]

_ALL: Interval = (-math.inf, math.inf)
_UNIT: Interval = (0.0, 1.0)


def interval(node: Node, language: Language) -> Interval:
    """The smallest interval that the rules below can promise, over the real numbers."""
    match node:
        case Constant(value):
            return value, value
        case Terminal(name):
            return language.statistic(name).bounds
        case Call(operator, arguments):
            rule = _RULES.get(operator)
            return rule(*(interval(argument, language) for argument in arguments)) if rule else _ALL


def nonnegative(node: Node, language: Language) -> bool:
    """Whether the value surely is nowhere below zero."""
    return interval(node, language)[0] >= 0


def nonzero(node: Node, language: Language) -> bool:
    """Zero is impossible."""
    low, high = interval(node, language)
    return low > 0 or high < 0


def axes(node: Node, language: Language) -> Axes | None:
    """The indices that the value depends on; the empty set for one number per matrix, None for a plain number."""
    match node:
        case Constant():
            return None
        case Terminal(name):
            return language.statistic(name).axes
        case Call(operator):
            parts = [axes(child, language) for child in children(node)]
            known = [part for part in parts if part is not None]
            if not known:
                return None
            together: Axes = frozenset().union(*known)
            if language.operators[operator].kind == "reduction":
                return together - (COLUMN if operator.startswith("row_") else ROW)
            return together


_KEEP_POSITIVE = frozenset({
    "+", "*", "/", "**", "sqr", "sqrt", "abs", "skp", "div", "min", "max",
    "row_sum", "row_mean", "row_max", "row_norm", "col_sum", "col_mean", "col_max", "col_norm",
})  # fmt: skip


def positive(node: Node, language: Language) -> bool:
    """Positive on every row and column that is not all zeros: what may be divided out of a ranking."""
    match node:
        case Constant(value):
            return value > 0
        case Terminal():
            return nonnegative(node, language)
        case Call("exp"):
            return True
        case Call(operator, arguments):
            return operator in _KEEP_POSITIVE and all(positive(argument, language) for argument in arguments)


def _times(a: Interval, b: Interval) -> Interval:
    # 0 times an unbounded but finite value is 0.
    ends = [0.0 if 0.0 in (x, y) else x * y for x in a for y in b]
    return min(ends), max(ends)


def _inverse(a: Interval) -> Interval:
    low, high = a
    if low < 0 < high:
        return _ALL
    return (1 / high if high else -math.inf), (1 / low if low else math.inf)


def _power(a: Interval, exponent: Interval) -> Interval:
    e = exponent[0]
    if e < 0:
        return _inverse(_power(a, (-e, -e)))
    if a[0] >= 0:
        return _raised(a[0], e), _raised(a[1], e)
    return (0.0, math.inf) if e.is_integer() and e % 2 == 0 else _ALL


def _raised(base: float, exponent: float) -> float:
    try:
        return float(base**exponent)
    except OverflowError:
        return math.inf


def _magnitude(a: Interval) -> Interval:
    low, high = a
    return (0.0 if low <= 0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))


def _log(a: Interval) -> Interval:
    low, high = _magnitude(a)
    return math.log(low + LOG_OFFSET), math.log(high + LOG_OFFSET)


def _exp(a: Interval) -> Interval:
    return math.exp(min(a[0], EXP_LIMIT)), math.exp(min(a[1], EXP_LIMIT))


def _same(a: Interval) -> Interval:
    return a


def _of_sign(a: Interval) -> Interval:
    """Sums and norms of many: only the sign is kept."""
    return (0.0 if a[0] >= 0 else -math.inf), (0.0 if a[1] <= 0 else math.inf)


_RULES: dict[str, Callable[..., Interval]] = {
    "+": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "-": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "*": _times,
    "/": lambda a, b: _times(a, _inverse(b)),
    "**": _power,
    "neg": lambda a: (-a[1], -a[0]),
    "min": lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
    "max": lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
    "sqr": lambda a: _power(_magnitude(a), (2.0, 2.0)),
    "sqrt": lambda a: _power(_magnitude(a), (0.5, 0.5)),
    "abs": _magnitude,
    "log": _log,
    "exp": _exp,
    "tanh": lambda a: (math.tanh(a[0]), math.tanh(a[1])),
    "div": lambda a, b: _of_sign(a),
    "skp": _same,
    **dict.fromkeys(("mms", "minmax", "rank", "row_rank", "col_rank", "softmax"), lambda a: _UNIT),
    **dict.fromkeys(("row_sum", "col_sum"), _of_sign),
    **dict.fromkeys(("row_mean", "col_mean", "row_max", "col_max", "row_min", "col_min"), _same),
    **dict.fromkeys(("row_std", "col_std", "row_norm", "col_norm"), lambda a: (0.0, math.inf)),
}
