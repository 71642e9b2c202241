"""Products as bases with exponents and sums as terms with coefficients: the normal forms behind `simplify`.

Everything is exact over the real numbers wherever the formula has a finite value. The two traps are handled here:
a base that may be zero is never cancelled (W / W is 0, not 1, at a zero weight), and one that may be negative only
takes part with integer exponents.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from tools.expression.bounds import nonnegative, nonzero
from tools.expression.nodes import Call, Constant, Node, used_terminals
from tools.expression.operators import MAX_EXPONENT, Language
from tools.expression.text import format_expression

PRODUCTS = frozenset({"*", "/", "**", "sqr", "sqrt"})
SUMS = frozenset({"+", "-"})
_ROUNDING = 1e-12


class Opaque(Exception):
    """No normal form that is exact: the node stays as it is, one base or one term."""


@dataclass(frozen=True)
class Product:
    """coefficient * base ** exponent * ..., no base a product or a constant."""

    coefficient: float
    factors: dict[Node, float]


@dataclass(frozen=True)
class Sum:
    """constant + coefficient * term + ..., no term a sum or a constant, none with a coefficient of its own."""

    constant: float
    terms: dict[Node, float]


def order(language: Language, nodes: Iterable[Node]) -> list[Node]:
    """Nodes in canonical order: by the terminals they read, as the language lists them; leaves first; then by text."""
    rank = {name: index for index, name in enumerate((*language.terminals, *language.parametrised))}

    def key(node: Node) -> tuple[list[int], bool, str]:
        read = sorted(rank[name.partition("(")[0]] for name in used_terminals(node))
        return read, isinstance(node, Call), format_expression(node)

    return sorted(nodes, key=key)


def product_of(node: Node, language: Language) -> Product:
    """The product that a node is; one base with exponent 1 where it is none."""
    try:
        match node:
            case Constant(value):
                return Product(value, {})
            case Call("neg", (x,)):
                inner = product_of(x, language)
                return Product(-inner.coefficient, inner.factors)
            case Call("*", (x, y)):
                return _multiplied(product_of(x, language), product_of(y, language), language)
            case Call("/", (x, y)):
                below = _raised(product_of(y, language), -1.0, language)
                return _multiplied(product_of(x, language), below, language)
            case Call("sqr", (x,)):
                return _raised(product_of(x, language), 2.0, language)
            case Call("sqrt", (x,)):
                return _raised(_magnitude(product_of(x, language), language), 0.5, language)
            case Call("**", (x, Constant(exponent))):
                return _raised(product_of(x, language), exponent, language)
    except Opaque:
        pass
    return Product(1.0, {node: 1.0})


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise Opaque
    return value


def _multiplied(a: Product, b: Product, language: Language) -> Product:
    factors = dict(a.factors)
    for base, exponent in b.factors.items():
        before = factors.pop(base, 0.0)
        total = before + exponent
        if abs(total) < _ROUNDING:
            total = 0.0
        # x**3 / x**2 is x even where x is zero; x / x and x**2 / x**3 are not what they seem there.
        if before * exponent < 0 and total <= 0 and not nonzero(base, language):
            raise Opaque
        if total:
            factors[base] = total
    return Product(_finite(a.coefficient * b.coefficient), factors)


def _raised(a: Product, exponent: float, language: Language) -> Product:
    whole = exponent.is_integer()
    for base, own in a.factors.items():
        if not nonnegative(base, language) and not (whole and own.is_integer()):
            raise Opaque
    if (a.coefficient < 0 and not whole) or (a.coefficient == 0 and exponent < 0):
        raise Opaque
    try:
        coefficient = _finite(a.coefficient**exponent)
    except OverflowError:
        raise Opaque from None
    if exponent == 0:
        return Product(1.0, {})
    return Product(coefficient, {base: own * exponent for base, own in a.factors.items()})


def _magnitude(a: Product, language: Language) -> Product:
    result = Product(abs(a.coefficient), {})
    for base, exponent in a.factors.items():
        absolute = base if nonnegative(base, language) else Call("abs", (base,))
        result = _multiplied(result, Product(1.0, {absolute: exponent}), language)
    return result


def build_product(product: Product, language: Language) -> Node:
    """The shortest tree of a product: bases of one exponent share one power."""
    coefficient = product.coefficient
    if coefficient == 0 or not product.factors:
        return Constant(coefficient)
    above: list[Node] = []
    below: list[Node] = []
    ordered = order(language, product.factors)
    for exponent in dict.fromkeys(product.factors[base] for base in ordered):
        bases = [base for base in ordered if product.factors[base] == exponent]
        side = above if exponent > 0 else below
        side.extend(bases if abs(exponent) == 1 else [_power(_chain("*", bases), abs(exponent))])
    negated = coefficient == -1 and bool(above)
    if not above or abs(coefficient) != 1:
        above.insert(0, Constant(coefficient))
    body = _chain("*", above)
    if below:
        body = Call("/", (body, _chain("*", below)))
    return Call("neg", (body,)) if negated else body


def _chain(operator: str, nodes: list[Node]) -> Node:
    result = nodes[0]
    for node in nodes[1:]:
        result = Call(operator, (result, node))
    return result


def _power(base: Node, exponent: float) -> Node:
    if exponent == 2:
        return Call("sqr", (base,))
    if exponent == 0.5:
        return Call("sqrt", base.arguments if isinstance(base, Call) and base.operator == "abs" else (base,))
    if exponent > MAX_EXPONENT:
        return Call("sqr", (_power(base, exponent / 2),))
    return Call("**", (base, Constant(exponent)))


def sum_of(node: Node, language: Language) -> Sum:
    """The sum that a node is; one term where it is none."""
    match node:
        case Call("+", (x, y)):
            return _added(sum_of(x, language), sum_of(y, language), 1.0)
        case Call("-", (x, y)):
            return _added(sum_of(x, language), sum_of(y, language), -1.0)
    product = product_of(node, language)
    if not product.factors:
        return Sum(product.coefficient, {})
    match list(product.factors.items()):
        case [(Call(operator) as base, 1.0)] if operator in SUMS:
            return _added(Sum(0.0, {}), sum_of(base, language), product.coefficient)
    term = build_product(Product(1.0, product.factors), language)
    return Sum(0.0, {term: product.coefficient} if product.coefficient else {})


def _added(a: Sum, b: Sum, scale: float) -> Sum:
    terms = dict(a.terms)
    for term, coefficient in b.terms.items():
        terms[term] = _finite(terms.get(term, 0.0) + scale * coefficient)
    constant = _finite(a.constant + scale * b.constant)
    return Sum(constant, {term: coefficient for term, coefficient in terms.items() if coefficient})


def build_sum(total: Sum, language: Language) -> Node:
    """Positive terms, negative terms, the constant last: `W + X - G + 0.5`, but `1 - W`."""
    ordered = order(language, total.terms)
    added = [_scaled(term, total.terms[term], language) for term in ordered if total.terms[term] > 0]
    taken = [_scaled(term, -total.terms[term], language) for term in ordered if total.terms[term] < 0]
    constant = total.constant
    if not added and not taken:
        return Constant(constant)
    if not added and constant <= 0:
        mirrored = Sum(-constant, {term: -coefficient for term, coefficient in total.terms.items()})
        return _negated(build_sum(mirrored, language), language)
    if not added:
        return _chain("-", [Constant(constant), *taken])
    body = _chain("-", [_chain("+", added), *taken])
    if constant == 0:
        return body
    return Call("+" if constant > 0 else "-", (body, Constant(abs(constant))))


def _scaled(term: Node, coefficient: float, language: Language) -> Node:
    inner = product_of(term, language)
    return build_product(Product(coefficient * inner.coefficient, inner.factors), language)


def _negated(node: Node, language: Language) -> Node:
    inner = product_of(node, language)
    return build_product(Product(-inner.coefficient, inner.factors), language)
