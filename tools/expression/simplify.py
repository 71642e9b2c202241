"""Formulas that rank alike become one formula (Pruner-Zero's opposing operation simplification, made exact).

Two kinds of rules. The exact ones hold anywhere in a formula: opposing operations (neg neg, sqrt sqr, exp log,
x + y - y), constants, one normal form for products and for sums. The others need a freedom: where only the ranking
inside a comparison group counts, a strictly increasing function and a positive factor that is the same for the whole
group may go. The root has the freedom of its comparison group; arguments of `mms`, `rank` and their like have one too.

"Exact" is over the real numbers and for formulas that are defined. In floating point a wrapper can only have made
neighbours equal (`tanh` saturates, `exp` is cut off), never swapped them, so the simplified metric refines the ties of
the original; and a simplified formula may be defined where the original was not (`exp(W)` overflows, `W` does not).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from tools.expression.algebra import (
    PRODUCTS,
    SUMS,
    Opaque,
    Product,
    Sum,
    build_product,
    build_sum,
    order,
    product_of,
    sum_of,
)
from tools.expression.bounds import axes, interval, nonnegative, positive
from tools.expression.nodes import Call, Constant, Node, depth, size
from tools.expression.operators import COLUMN, LOG_OFFSET, METRIC, ROW, Axes, Language

if TYPE_CHECKING:
    from tools.expression.operators import Group

_ROUNDS = 16


@dataclass(frozen=True)
class Freedom:
    """What may be dropped without changing what a value is used for.

    Of x * s + t with s > 0, s and t may go if they depend on no index outside `drops` (None: only plain numbers may go,
    `exact`: nothing may). `monotone`: a strictly increasing function may go. `root`: the value ends in a ranking.
    """

    drops: Axes | Literal["exact"] | None
    monotone: bool
    root: bool = False

    def covers(self, node: Node, language: Language) -> bool:
        """Is `node` the same number wherever two values are compared?"""
        depends = axes(node, language)
        if self.drops == "exact":
            return False
        return depends is None or (self.drops is not None and depends <= self.drops)

    @property
    def scales(self) -> bool:
        """May one number per matrix be divided out?"""
        return isinstance(self.drops, frozenset)


_NOTHING: Axes = frozenset()
_EXACT = Freedom("exact", monotone=False)
_AFFINE = Freedom(_NOTHING, monotone=False)

_ARGUMENT: dict[str, Freedom] = {
    **dict.fromkeys(("mms", "zsn", "z", "minmax"), _AFFINE),
    "rank": Freedom(_NOTHING, monotone=True),
    "row_rank": Freedom(ROW, monotone=True),
    "col_rank": Freedom(COLUMN, monotone=True),
}

_ROOT: dict[str, Freedom] = {
    "row": Freedom(ROW, monotone=True, root=True),
    "matrix": Freedom(_NOTHING, monotone=True, root=True),
    "block": Freedom(None, monotone=True, root=True),
}


def simplify(node: Node, language: Language = METRIC, group: Group = "row") -> Node:
    """The canonical formula that ranks as `node` does inside every comparison group.

    An allocation's value is min-max scaled before use, so there `group` says nothing and shift and scale may go. A
    formula that ranks nothing inside its group becomes a constant, which `evaluate` refuses.
    """
    freedom = _ROOT[group] if language is METRIC else replace(_AFFINE, root=True)
    result = _fixpoint(node, lambda tree: _strip(_exact(tree, language), freedom, language))
    within = depth(result) <= language.limits.depth and size(result) <= language.limits.nodes
    return result if within else node


def _fixpoint(node: Node, step: Callable[[Node], Node]) -> Node:
    for _ in range(_ROUNDS):
        before, node = node, step(node)
        if node == before:
            break
    return node


def _exact(node: Node, language: Language) -> Node:
    """The node after every rule that keeps its value, arguments first."""
    if not isinstance(node, Call):
        return node
    arguments = tuple(_argument(node.operator, argument, language) for argument in node.arguments)
    node = Call(node.operator, arguments)
    if all(isinstance(argument, Constant) for argument in arguments):
        return _folded(node, language)
    if node.operator in PRODUCTS | SUMS or node.operator == "neg":
        return _normal(node, language)
    return _function(node, language)


def _argument(operator: str, argument: Node, language: Language) -> Node:
    return _strip(_exact(argument, language), _ARGUMENT.get(operator, _EXACT), language)


def _folded(node: Call, language: Language) -> Node:
    """The constant that an operator makes of constants; the node itself where that is not finite."""
    import torch

    values = (torch.tensor(argument.value, dtype=torch.float64) for argument in node.arguments)  # type: ignore[union-attr]
    value = float(language.operators[node.operator].apply(*values))
    return Constant(value) if math.isfinite(value) else node


def _normal(node: Node, language: Language) -> Node:
    try:
        return build_sum(sum_of(node, language), language)
    except Opaque:
        return node


def _function(node: Call, language: Language) -> Node:
    """The rules of functions that are no arithmetic."""
    match node:
        case Call("skp", (x,)):
            return x
        case Call("abs" | "log" as even, (Call("neg" | "abs", (x,)),)):
            return _function(Call(even, (x,)), language)
        case Call("abs", (x,)):
            low, high = interval(x, language)
            return x if low >= 0 else _normal(Call("neg", (x,)), language) if high <= 0 else node
        case Call("exp", (Call("log", (x,)),)):
            offset = Call("+", (_function(Call("abs", (x,)), language), Constant(LOG_OFFSET)))
            return _normal(offset, language)
        case Call("min" | "max", (x, y)) if x == y:
            return x
        case Call("min" | "max" as operator, arguments):
            return Call(operator, tuple(order(language, arguments)))
    return node


def _strip(node: Node, freedom: Freedom, language: Language) -> Node:
    """The node without what `freedom` allows to drop, from the root inwards."""
    if freedom.covers(node, language):
        return Constant(0.0)
    match node:
        case Call("mms" | "zsn" | "z" | "minmax", (x,)) | Call("div", (x, _)) if freedom.scales:
            return _strip(x, freedom, language)
        case Call("rank", (x,)) if freedom.monotone and freedom.scales:
            return _strip(x, freedom, language)
        case Call("row_rank", (x,)) if freedom.monotone and freedom.drops == ROW:
            return _strip(x, freedom, language)
        case Call("col_rank", (x,)) if freedom.monotone and freedom.drops == COLUMN:
            return _strip(x, freedom, language)
        # Where they saturate these tie what they should tell apart: that is harmless at the root, but a rank shows it.
        case Call("exp" | "tanh", (x,)) if freedom.monotone and freedom.root:
            return _strip(x, freedom, language)
        case Call("log", (x,)) if freedom.monotone and freedom.root and nonnegative(x, language):
            return _strip(x, freedom, language)
        case Call("+" | "-"):
            return _stripped_sum(node, freedom, language)
        case Call("*" | "/" | "**" | "sqr" | "sqrt" | "neg"):
            return _stripped_product(node, freedom, language)
    return node


def _stripped_sum(node: Node, freedom: Freedom, language: Language) -> Node:
    if freedom.drops == "exact":
        return node
    total = sum_of(node, language)
    terms = {term: share for term, share in total.terms.items() if not freedom.covers(term, language)}
    if not terms:
        return Constant(0.0)
    scale = abs(terms[order(language, terms)[0]])
    return build_sum(Sum(0.0, {term: share / scale for term, share in terms.items()}), language)


def _stripped_product(node: Node, freedom: Freedom, language: Language) -> Node:
    if freedom.drops == "exact":
        return node
    product = product_of(node, language)
    if node in product.factors:
        return node  # no product after all, W / W for example
    factors = {
        base: exponent
        for base, exponent in product.factors.items()
        if not (freedom.covers(base, language) and _divides_out(base, freedom, language))
    }
    sign = math.copysign(1.0, product.coefficient)
    if freedom.monotone and factors and all(nonnegative(base, language) for base in factors):
        sign, factors = _normalised(sign, factors, language)
    if list(factors.values()) == [1.0]:
        inner = _strip(next(iter(factors)), freedom, language)
        return inner if sign > 0 else _normal(Call("neg", (inner,)), language)
    return build_product(Product(sign, factors), language)


def _divides_out(base: Node, freedom: Freedom, language: Language) -> bool:
    """Is a common factor positive? One of zero ties all who compete: that adds nothing but ties at the root only."""
    return positive(base, language) if freedom.root else interval(base, language)[0] > 0


def _normalised(sign: float, factors: dict[Node, float], language: Language) -> tuple[float, dict[Node, float]]:
    """A power of a non-negative product ranks as the product does: the first base gets the exponent 1.

    If all exponents are negative, the inverse ranks the other way round.
    """
    scale = abs(factors[order(language, factors)[0]])
    if all(exponent < 0 for exponent in factors.values()):
        sign, scale = -sign, -scale
    return sign, {base: exponent / scale for base, exponent in factors.items()}
