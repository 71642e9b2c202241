"""Formulas of real statistics: shapes, precision, and what is not finite."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings

from tests.tools.expression.trees import handy, layer32, trees
from tools.expression import ALLOCATION, METRIC, NAMED_METRICS, Node, evaluate, format_expression, parse
from tools.io.errors import SecateurError


def test_the_value_has_the_shape_of_the_weight_and_single_precision() -> None:
    for text in ("X", "row_sum(W) + 0 * X", "W * X", "col_rank(W)"):
        value = evaluate(parse(text), layer32())
        assert (value.shape, value.dtype) == ((24, 40), torch.float32)


def test_half_precision_is_computed_in_single() -> None:
    half = {name: value.to(torch.bfloat16) for name, value in layer32().items()}
    expected = half["W"].float() * half["X"].float()
    assert torch.equal(evaluate(parse("W * X"), half), expected)


@settings(deadline=None, max_examples=100)
@given(trees(METRIC, handy))
def test_inputs_are_never_written(node: Node) -> None:
    layer = layer32(rows=4, columns=6)
    before = {name: value.clone() for name, value in layer.items()}
    try:
        evaluate(node, layer)
    except SecateurError as error:
        assert str(error).startswith('metric "')
        assert str(error).isprintable()
    assert all(torch.equal(layer[name], before[name]) for name in layer)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("W / 0", "divides by zero everywhere"),
        ("sqr(W) + W / (X - X)", "W / (X - X) divides by zero everywhere"),
        ("log(neg(W)) ** 0.5", "yields NaN"),
        ("X_mean ** 0.5 * W", "X_mean ** 0.5 yields NaN"),
        ("exp(100 * W + 90)", "is infinite everywhere"),
        ("W - W", "is 0 everywhere"),
        ("3", "is 3 everywhere"),
        ("sqr(W) * 1e300", "is infinite"),
    ],
)
def test_an_invalid_value_says_why(text: str, part: str) -> None:
    with pytest.raises(SecateurError) as caught:
        evaluate(parse(text), layer32())
    assert str(caught.value).startswith(f'metric "{format_expression(parse(text))}": ')
    assert part in str(caught.value)


@pytest.mark.parametrize(
    "text", ["tanh(W / (X - X))", "rank(W / (X - X))", "W + 1 / exp(1 / (X - X))", "min(W, X / 0)"]
)
def test_what_is_not_finite_cannot_hide(text: str) -> None:
    with pytest.raises(SecateurError, match="divides by zero everywhere"):
        evaluate(parse(text), layer32())


def test_one_zero_divisor_is_counted() -> None:
    layer = layer32()
    layer["X"][0, 3] = 0
    with pytest.raises(SecateurError, match=r"W / X divides by zero at 24 of 960 places"):
        evaluate(parse("W / X"), layer)


def test_a_missing_statistic_is_named() -> None:
    with pytest.raises(SecateurError, match="G was not measured"):
        evaluate(parse("W * G"), {"W": torch.rand(2, 3)})


def test_rows_and_columns_of_zeros_do_not_kill_ria() -> None:
    layer = layer32()
    layer["W"][5] = 0
    layer["W"][:, 7] = 0
    value = evaluate(parse(NAMED_METRICS["ria"]), layer)
    assert value.isfinite().all()
    assert (value[5] == 0).all()
    assert (value[:, 7] == 0).all()


def test_equal_values_rank_equally() -> None:
    value = evaluate(parse("rank(size)", ALLOCATION), {"size": torch.tensor([4.0, 4.0, 9.0, 4.0])})
    assert value.tolist() == [0.0, 0.0, 1.0, 0.0]
