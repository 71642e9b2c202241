"""Formulas as text: what is printed is what is read."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.tools.expression.trees import trees
from tools.expression import ALLOCATION, METRIC, Language, Node, format_expression, parse, used_terminals

finite = st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0)


@pytest.mark.parametrize("language", [METRIC, ALLOCATION], ids=lambda language: language.name)
def test_text_and_tree_are_one(language: Language) -> None:
    @settings(deadline=None, max_examples=400)
    @given(trees(language, finite))
    def check(node: Node) -> None:
        text = format_expression(node)
        assume(len(text) <= language.limits.characters)
        assert parse(text, language) == node

    check()


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("(W)*(X)", "W * X"),
        ("mul(W, add(X, 2.0))", "W * (X + 2)"),
        ("W-(X-G)", "W - (X - G)"),
        ("(W-X)-G", "W - X - G"),
        ("(-W)**2", "(-W) ** 2"),
        ("-W**2", "-W ** 2"),
        ("W**-0.5", "W ** -0.5"),
        ("pow(W)", "sqr(W)"),
        ("W / (X * G)", "W / (X * G)"),
        ("-(-W)", "-(-W)"),
        ("neg(2)", "neg(2)"),
        ("+W\n  * X", "W * X"),
        ("1e-3 * W", "0.001 * W"),
        ("1_000 * W", "1000 * W"),
    ],
)
def test_prints_what_a_person_would_write(text: str, printed: str) -> None:
    assert format_expression(parse(text)) == printed


def test_a_parametrised_terminal_keeps_its_number() -> None:
    node = parse("minmax(outliers(5.0))", ALLOCATION)
    assert used_terminals(node) == {"outliers(5)"}
    assert format_expression(node) == "minmax(outliers(5))"
