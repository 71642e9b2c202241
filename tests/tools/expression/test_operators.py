"""The meaning of operators, once more in plain loops over exact numbers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from torch import Tensor

from tests.tools.expression.trees import Matrix, Undefined, apply, broadcast, defined, layers, numbers
from tools.expression import ALLOCATION, METRIC, Language, evaluate, parse


def tensor(a: Matrix) -> Tensor:
    return torch.tensor([[float(number) for number in row] for row in a], dtype=torch.float64)


@pytest.mark.parametrize(
    ("language", "name"),
    [(language, name) for language in (METRIC, ALLOCATION) for name in sorted(language.operators)],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_every_operator_is_its_plain_loop(language: Language, name: str) -> None:
    operator = language.operators[name]
    left = numbers(3, 4, -40) | numbers(1, 4, -40) if language is METRIC else numbers(1, 5, -40)
    plain = numbers(1, 1, 1)
    right = plain if name == "**" else left | plain

    @settings(deadline=None, max_examples=50)
    @given(left, right)
    def check(x: Matrix, y: Matrix) -> None:
        values = [x, y][: operator.arity]
        tensors = [tensor(value) if language is METRIC or len(value[0]) == 1 else tensor(value)[0] for value in values]
        result = operator.apply(*tensors)
        try:
            expected = tensor(apply(name, values))
        except Undefined:
            assert not result.isfinite().all()
        else:
            torch.testing.assert_close(result.reshape(expected.shape), expected, rtol=1e-9, atol=1e-9)

    check()


@pytest.mark.parametrize(
    "text", ["W * X + row_sum(G) / col_max(W)", "mms(W) - zsn(X) * 3", "max(rank(G), X_mean ** 2)"]
)
def test_parts_compose(text: str) -> None:
    @settings(deadline=None, max_examples=50)
    @given(layers())
    def check(layer: dict[str, Matrix]) -> None:
        expected = tensor(broadcast(defined(parse(text), layer), 3, 4))
        assume(len(expected.unique()) > 1)
        value = evaluate(parse(text), {name: tensor(value) for name, value in layer.items()})
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)

    check()
