"""Trees of formulas at random, and exact plain loops that say what they mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Context, Decimal, DecimalException, localcontext

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor

from tools.expression import METRIC, Call, Constant, Language, Node, Terminal, depth, size
from tools.expression.operators import EXP_LIMIT, LOG_OFFSET

Matrix = list[list[Decimal]]


def trees(language: Language, constants: st.SearchStrategy[float], leaves: int = 10) -> st.SearchStrategy[Node]:
    names = [*language.terminals, *(f"{name}(5)" for name in language.parametrised)]
    exponent = st.sampled_from([-2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 3.0, 0.25, 4.0]).map(Constant)
    leaf = st.one_of(st.sampled_from(names).map(Terminal), constants.map(Constant))

    def grow(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        def call(name: str) -> st.SearchStrategy[Node]:
            right = exponent if name == "**" else inner
            arguments = st.tuples(inner) if language.operators[name].arity == 1 else st.tuples(inner, right)
            return arguments.map(lambda chosen: Call(name, chosen))

        return st.sampled_from(list(language.operators)).flatmap(call)

    tree = st.recursive(leaf, grow, max_leaves=leaves)
    return tree.filter(lambda node: depth(node) <= language.limits.depth and size(node) <= language.limits.nodes)


handy = st.sampled_from([1.0, 2.0, 0.5, -1.0, 4.0, 0.0])


class Undefined(Exception):
    """The formula has no finite value."""


def quotient(a: Decimal, b: Decimal) -> Decimal:
    if b == 0:
        if a == 0:
            return Decimal(0)
        raise Undefined
    return a / b


def power(a: Decimal, b: Decimal) -> Decimal:
    if b == 0:
        return Decimal(1)
    if a == 0 and b > 0:
        return Decimal(0)
    if a == 0 or (a < 0 and b != b.to_integral_value()):
        raise Undefined
    return a**b


def tanh(a: Decimal) -> Decimal:
    if abs(a) > 500:
        return Decimal(1).copy_sign(a)
    grown = (2 * a).exp()
    return (grown - 1) / (grown + 1)


def is_smaller(a: Decimal, b: Decimal) -> bool:
    """Clearly smaller: rounding in the 60th digit makes no difference of rank."""
    return b - a > max(abs(a), abs(b)) * Decimal("1e-12")


def ranks(values: list[Decimal]) -> list[Decimal]:
    others = max(len(values) - 1, 1)
    return [Decimal(sum(is_smaller(other, value) for other in values)) / others for value in values]


def mean(values: list[Decimal]) -> Decimal:
    return sum(values, Decimal(0)) / len(values)


def deviation(values: list[Decimal], correction: int) -> Decimal:
    if len(values) == 1:
        return Decimal(0)
    middle = mean(values)
    return (sum(((value - middle) ** 2 for value in values), Decimal(0)) / (len(values) - correction)).sqrt()


def norm(values: list[Decimal]) -> Decimal:
    return sum((value * value for value in values), Decimal(0)).sqrt()


def scaled(values: list[Decimal]) -> list[Decimal]:
    return [quotient(value - min(values), max(values) - min(values)) for value in values]


def standardised(values: list[Decimal], correction: int) -> list[Decimal]:
    spread = deviation(values, correction)
    spread = Decimal(0) if spread < Decimal("1e-40") else spread
    return [quotient(value - mean(values) if spread else Decimal(0), spread) for value in values]


def softmax(values: list[Decimal]) -> list[Decimal]:
    grown = [(value - max(values)).exp() for value in values]
    return [value / sum(grown) for value in grown]


ELEMENT: dict[str, Callable[..., Decimal]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": quotient,
    "**": power,
    "neg": lambda a: -a,
    "min": min,
    "max": max,
    "sqr": lambda a: a * a,
    "sqrt": lambda a: abs(a).sqrt(),
    "abs": abs,
    "log": lambda a: (abs(a) + Decimal(LOG_OFFSET)).ln(),
    "exp": lambda a: min(a, Decimal(EXP_LIMIT)).exp(),
    "tanh": tanh,
    "skp": lambda a: a,
}


WHOLE: dict[str, Callable[[list[Decimal]], list[Decimal]]] = {
    "rank": ranks,
    "mms": scaled,
    "minmax": scaled,
    "zsn": lambda values: standardised(values, 1),
    "z": lambda values: standardised(values, 0),
    "softmax": softmax,
}


REDUCE: dict[str, Callable[[list[Decimal]], Decimal]] = {
    "sum": lambda values: sum(values, Decimal(0)),
    "mean": mean,
    "max": max,
    "min": min,
    "std": lambda values: deviation(values, 0),
    "norm": norm,
}


def broadcast(a: Matrix, rows: int, columns: int) -> Matrix:
    return [[a[i % len(a)][j % len(a[0])] for j in range(columns)] for i in range(rows)]


def transposed(a: Matrix) -> Matrix:
    return [list(column) for column in zip(*a, strict=True)]


def value_of(node: Node, terminals: Mapping[str, Matrix]) -> Matrix:
    """The formula in 60 digits, one number at a time."""
    match node:
        case Constant(value):
            return [[Decimal(value)]]
        case Terminal(name):
            return terminals[name]
        case Call(operator, arguments):
            return apply(operator, [value_of(argument, terminals) for argument in arguments])


def apply(operator: str, values: list[Matrix]) -> Matrix:
    rows, columns = max(len(a) for a in values), max(len(a[0]) for a in values)
    if operator in ELEMENT:
        wide = [broadcast(a, rows, columns) for a in values]
        return [[ELEMENT[operator](*(a[i][j] for a in wide)) for j in range(columns)] for i in range(rows)]
    if operator == "div":
        length = norm([number for row in broadcast(values[1], rows, columns) for number in row])
        return [[quotient(number, length) for number in row] for row in values[0]]
    if operator in WHOLE:
        flat = WHOLE[operator]([number for row in values[0] for number in row])
        return [flat[i * columns : (i + 1) * columns] for i in range(rows)]
    axis, _, name = operator.partition("_")
    lines = values[0] if axis == "row" else transposed(values[0])
    result = [ranks(line) if name == "rank" else [REDUCE[name](line)] for line in lines]
    return result if axis == "row" else transposed(result)


def numbers(rows: int, columns: int, low: int, high: int = 40) -> st.SearchStrategy[Matrix]:
    """Eighths, so that equal values and zeros turn up; no row without anything but zeros."""
    number = st.integers(low, high).map(lambda value: Decimal(value) / 8)
    row = st.lists(number, min_size=columns, max_size=columns).filter(any)
    return st.lists(row, min_size=rows, max_size=rows)


def layers(rows: int = 3, columns: int = 4) -> st.SearchStrategy[dict[str, Matrix]]:
    lowest = {"D": 1, "X_mean": -40}
    shape = {"W": rows, "G": rows, "R": rows}
    return st.fixed_dictionaries(
        {name: numbers(shape.get(name, 1), columns, lowest.get(name, 0)) for name in METRIC.terminals}
    )


def defined(node: Node, terminals: Mapping[str, Matrix]) -> Matrix:
    with localcontext(Context(prec=70, Emax=10**15, Emin=-(10**15))):
        try:
            return value_of(node, terminals)
        except (Undefined, DecimalException, ZeroDivisionError):
            assume(False)
            raise


def layer32(seed: int = 0, rows: int = 24, columns: int = 40) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = {"W": rows, "G": rows, "R": rows}
    random = {name: torch.randn(shape.get(name, 1), columns, generator=generator) for name in METRIC.terminals}
    return {name: value if name == "X_mean" else value.abs() + 0.01 for name, value in random.items()}
