"""Formulas that rank alike become one, and no ranking is lost."""

from __future__ import annotations

from decimal import Context, Decimal, localcontext

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tests.tools.expression.trees import Matrix, broadcast, defined, handy, layers, numbers, scaled, trees, value_of
from tools.expression import ALLOCATION, METRIC, Language, Node, format_expression, parse, simplify
from tools.expression.operators import Group


def units(count: int = 5) -> st.SearchStrategy[dict[str, Matrix]]:
    names = [*ALLOCATION.terminals, "outliers(5)"]
    signed = {"skew", "kurtosis", "redundancy", "alpha"}
    return st.fixed_dictionaries(
        {name: numbers(1, count, -40 if name in signed else 0, 8 if name == "depth" else 40) for name in names}
    )


@pytest.mark.parametrize(
    ("text", "simple"),
    [
        ("abs(mul(W, W)) * mms(G)", "W * sqrt(mms(G))"),
        ("sqr(W) * mms(G)", "W * sqrt(mms(G))"),
        ("sqrt(sqr(W)) * 2 * row_sum(W)", "W"),
        ("log(exp(W * X))", "W * X"),
        ("W * sqrt(sqr(X_mean))", "W * abs(X_mean)"),
        ("exp(log(W))", "W"),
        ("-(-W)", "W"),
        ("W + X_mean - X_mean", "W"),
        ("(X * W) * W", "W * sqrt(X)"),
        ("sqr(W * X) / D", "W * X / sqrt(D)"),
        ("zsn(tanh(W)) / row_norm(X) + row_std(W)", "W"),
        ("rank(mms(3 * W))", "W"),
        ("skp(W) * (3 - 1)", "W"),
        ("W * X * mms(zsn(2 * G + row_sum(X)))", "W * X * mms(G)"),
        ("(W + X) / 2 + G / 2", "W + X + G"),
        ("1 - W", "-W"),
        ("1 / (W * X)", "-(W * X)"),
        ("row_sum(W)", "0"),
    ],
)
def test_formulas_that_rank_alike_become_one(text: str, simple: str) -> None:
    assert format_expression(simplify(parse(text))) == simple


@pytest.mark.parametrize(
    "text",
    [
        "W / W",
        "W / sqr(W)",
        "W / 0",
        "X / W",
        "W * X_mean",
        "W * sqrt(X_mean) / X_mean",
        "W * abs(X_mean)",
        "W * row_sum(X_mean)",
        "exp(W) * X",
        "log(X_mean - W)",
        "sqr(X_mean - W)",
        "W * mms(G)",
        "W + X * exp(G + log(X_mean))",
        "tanh(W) + X",
        "rank(exp(W)) + X",
        "rank(tanh(W)) + X",
        "row_rank(W * row_max(G)) + X",
    ],
)
def test_what_only_looks_opposing_stays(text: str) -> None:
    assert format_expression(simplify(parse(text))) == text


@pytest.mark.parametrize(
    ("group", "simple"), [("row", "W"), ("matrix", "W * row_sum(W)"), ("block", "mms(W * row_sum(W))")]
)
def test_the_comparison_group_decides_what_may_go(group: Group, simple: str) -> None:
    assert format_expression(simplify(parse("2 * sqrt(mms(W * row_sum(W)))"), METRIC, group)) == simple


@pytest.mark.parametrize(
    ("text", "simple"),
    [
        ("minmax(outliers(5))", "outliers(5)"),
        ("2 * z(skew) + 3", "skew"),
        ("softmax(z(minmax(skew)))", "softmax(z(skew))"),
        ("exp(skew)", "exp(skew)"),
        ("sqr(depth)", "sqr(depth)"),
        ("minmax(-score_mean)", "-score_mean"),
        ("rank(sqrt(2 * depth))", "rank(depth)"),
    ],
)
def test_an_allocation_may_lose_shift_and_scale_only(text: str, simple: str) -> None:
    assert format_expression(simplify(parse(text, ALLOCATION), ALLOCATION)) == simple


def contradictions(original: list[Decimal], simple: list[Decimal]) -> list[tuple[int, int]]:
    """Pairs that the original orders clearly and the simplified formula ties or orders the other way."""
    tied = max(map(abs, original)) * Decimal("1e-9")
    count = len(original)
    return [
        (i, j)
        for i in range(count)
        for j in range(count)
        if original[i] - original[j] > tied and simple[i] <= simple[j]
    ]


@pytest.mark.parametrize("group", ["row", "matrix", "block"])
def test_simplifying_keeps_every_ranking(group: Group) -> None:
    @settings(deadline=None, max_examples=100)
    @given(trees(METRIC, handy), layers(), layers())
    @example(parse("W / row_sum(W) * X"), *two_layers())
    @example(parse("col_rank(div(sqr(D) + X * G, G)) + 0 * W"), *two_layers())
    @example(parse("W * row_rank(G * row_max(W) - R)"), *two_layers())
    @example(parse("sqrt(col_rank(tanh(X_abs * R)))"), *two_layers())
    @example(parse("rank(exp(G * 400)) - mms(-sqr(W))"), *two_layers())
    @example(parse("X_mean * W / X_mean + W * row_sum(X_mean)"), *two_layers())
    @example(parse("log(X_mean - W) * 2"), *two_layers())
    @example(parse("sqrt(sqr(X_mean * W)) * row_mean(X_mean)"), *two_layers())
    @example(parse("-2 * zsn(-(W ** 3 * X) / D)"), *two_layers())
    def check(node: Node, first: dict[str, Matrix], second: dict[str, Matrix]) -> None:
        simple = simplify(node, METRIC, group)
        original = [broadcast(defined(node, layer), 3, 4) for layer in (first, second)]
        with localcontext(Context(prec=70, Emax=10**15, Emin=-(10**15))):
            changed = [broadcast(value_of(simple, layer), 3, 4) for layer in (first, second)]
            for before, after in zip(grouped(original, group), grouped(changed, group), strict=True):
                assert not contradictions(before, after), format_expression(simple)

    check()


def two_layers() -> tuple[dict[str, Matrix], dict[str, Matrix]]:
    """Fixed values with a zero here and there, in X as well; X_mean is signed."""

    def layer(shift: int) -> dict[str, Matrix]:
        def number(name: str, i: int, j: int) -> Decimal:
            digit = (i * 7 + j * 3 + shift + len(name) + ord(name[0])) % 11
            return Decimal(digit + (name == "D") - 5 * (name == "X_mean")) / 8

        rows = {"W": 3, "G": 3, "R": 3}
        return {
            name: [[number(name, i, j) for j in range(4)] for i in range(rows.get(name, 1))]
            for name in METRIC.terminals
        }

    return layer(0), layer(5)


def grouped(matrices: list[Matrix], group: Group) -> list[list[Decimal]]:
    """The values that compete with each other."""
    if group == "row":
        return [row for matrix in matrices for row in matrix]
    flat = [[number for row in matrix for number in row] for matrix in matrices]
    return flat if group == "matrix" else [flat[0] + flat[1]]


@settings(deadline=None, max_examples=100)
@given(trees(ALLOCATION, handy), units())
def test_simplifying_an_allocation_keeps_its_scaled_value(node: Node, statistics: dict[str, Matrix]) -> None:
    simple = simplify(node, ALLOCATION)
    (before,) = broadcast(defined(node, statistics), 1, 5)
    assume(max(before) - min(before) > max(map(abs, before)) * Decimal("1e-9"))
    with localcontext(Context(prec=70, Emax=10**15, Emin=-(10**15))):
        (after,) = broadcast(value_of(simple, statistics), 1, 5)
        for a, b in zip(scaled(before), scaled(after), strict=True):
            assert abs(a - b) < Decimal("1e-6"), format_expression(simple)


@pytest.mark.parametrize("language", [METRIC, ALLOCATION], ids=lambda language: language.name)
def test_simplifying_ends_in_a_readable_fixed_point(language: Language) -> None:
    @settings(deadline=None, max_examples=100)
    @given(trees(language, handy, leaves=16))
    def check(node: Node) -> None:
        simple = simplify(node, language)
        assert simplify(simple, language) == simple
        assert parse(format_expression(simple), language) == simple

    check()
