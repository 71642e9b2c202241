"""Hostile and wrong text is one line, and limits are exact."""

from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.expression import ALLOCATION, Constant, depth, format_expression, parse, size
from tools.io.errors import UsageError

HOSTILE = [
    "__import__('os')",
    "__import__",
    "W.__class__",
    "().__class__.__bases__",
    "9**9**9",
    "W ** X",
    "W ** 5",
    "2 ** 2 ** 2 ** 2 ** 2",
    "(" * 10_000 + "W" + ")" * 10_000,
    "(" * 900 + "W" + ")" * 900,
    "-" * 1999 + "W",
    "sqr(" * 399 + "W" + ")" * 399,
    "W" + "**2" * 600,
    "lambda: W",
    "(lambda W: W)(W)",
    "'W'",
    "f'{W}'",
    "W" * 1_000_000,
    "W + " * 250_000 + "W",
    "W \u00d7 X",
    "\uff37",
    "W\x00",
    "\x1b[31mW",
    "W \u202e X",
    "nan",
    "NaN * W",
    "inf",
    "1e999 * W",
    "9" * 1999,
    "sqr(x=W)",
    "sqr(*W)",
    "sqr(**W)",
    "1j * W",
    "True",
    "W * False",
    "None",
    "...",
    "W, X",
    "[W]",
    "W[0]",
    "W if X else G",
    "1if W else X",
    "W and X",
    "not W",
    "W < X",
    "W // X",
    "W % X",
    "W @ X",
    "W ^ 2",
    "(yield W)",
    "(W := X)",
    "sqr(W for W in X)",
    "W; import os",
    "W = X",
    "# W",
    "",
    " \n\t ",
    "W *",
    "W X",
    "W(X)",
    "sqr",
    "sqr()",
    "sqr(W, X)",
    "mul(W)",
    "eval(W)",
    "skew",
    "uniform",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:24]))
def test_hostile_text_gets_one_clear_line_at_once(text: str) -> None:
    calls = [0]

    def count(*event: object) -> None:
        calls[0] += 1

    sys.setprofile(count)
    try:
        with pytest.raises(UsageError) as caught:
            parse(text)
    finally:
        sys.setprofile(None)
    assert calls[0] < 100_000
    line = str(caught.value)
    assert line.startswith('metric "')
    assert line.isprintable()
    assert len(line) < 700


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("W * Y", "Y is not known. Terminals are W, X, G, D, R, X_mean, X_var, X_max, X_abs; did you mean X?"),
        ("w * X", "did you mean W?"),
        ("X_maen * W", "did you mean X_mean?"),
        ("sqrr(W)", "did you mean sqr?"),
        ("W ** X", "the exponent of ** is a number from -4 to 4, not X"),
        ("sqr(W, X)", "sqr takes 1 value, not 2"),
        ("W ^ 2", "write ** for a power"),
        ("W" * 2001, "has 2001 characters; the limit is 2000"),
        ("W(X)", "W is a terminal, not an operator"),
    ],
)
def test_a_complaint_says_what_and_what_to_do(text: str, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert part in str(caught.value)


@pytest.mark.parametrize("text", ["outliers", "outliers()", "outliers(skew)", "outliers(-1)", "outliers(1e9)", "W * 2"])
def test_allocations_have_their_own_terminals(text: str) -> None:
    with pytest.raises(UsageError, match=r'^allocation "'):
        parse(text, ALLOCATION)


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=60) | st.text(alphabet="WXG()+-*/.,0123456789esqr \n", max_size=60))
def test_any_text_is_a_formula_or_one_line(text: str) -> None:
    try:
        node = parse(text)
    except UsageError as error:
        assert str(error).isprintable()
    else:
        assert parse(format_expression(node)) == node


def test_limits_are_exact() -> None:
    deep, wide = "W", "W"
    for _ in range(15):
        deep = f"sqr({deep})"
    assert depth(parse(deep)) == 16
    with pytest.raises(UsageError, match="too deep"):
        parse(f"sqr({deep})")
    for _ in range(5):
        wide = f"({wide} + {wide})"
    assert size(parse(wide)) == 63
    assert size(parse(f"-{wide}")) == 64
    with pytest.raises(UsageError, match="65 parts; the limit is 64"):
        parse(f"sqr(-{wide})")


def test_a_constant_is_finite() -> None:
    with pytest.raises(ValueError, match="finite"):
        Constant(math.inf)
