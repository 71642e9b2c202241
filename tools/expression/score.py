"""A formula's value on tensors: one tensor expression at a time, in float32 (float64 stays), inputs never written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tools.expression.nodes import Call, Constant, Node, Terminal
from tools.expression.operators import ALLOCATION, EXPERTS, METRIC, Language
from tools.expression.text import format_expression
from tools.io.errors import SecateurError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def evaluate(node: Node, terminals: Mapping[str, Tensor], *, equal: Callable[[], bool] = lambda: False) -> Tensor:
    """The value of a formula, broadcast to the common shape of all terminals given.

    Args:
        node: a parsed formula.
        terminals: each terminal's tensor under its name (`outliers(5)` under exactly that): (out, in), (1, in) for a
            metric, (units,) for an allocation, (experts,) for experts. More than the formula reads may be there.
        equal: asked where all values are equal: whether they may be, as every formula's are on this input.

    Returns:
        (out, in) where `W` was given, (units,) for an allocation. It may share memory with a terminal or with itself
        (a broadcast view): read it, do not write into it.

    Raises:
        SecateurError: a terminal is missing, a part divides by zero or overflows, or all values are equal, so that
            they rank nothing; also where the formula reads no terminal at all.
    """
    from numpy import broadcast_shapes  # torch's is written in Python and takes as long as a small matrix

    if not terminals:
        raise SecateurError(f"{format_expression(node)} reads no statistic, which ranks nothing")
    shape = broadcast_shapes(*(tensor.shape for tensor in terminals.values()))
    language = METRIC if "W" in terminals else EXPERTS if "reap" in terminals else ALLOCATION
    run = _Run(terminals, language, node)
    value = run.value(node)
    low, high = _extremes(value)
    if not (math.isfinite(low) and math.isfinite(high)):
        run.thorough = True
        run.value(node)  # raises where it begins
    if low == high and math.prod(shape) > 1 and not equal():
        raise run.invalid(f"is {low:g} everywhere, which ranks nothing")
    return value.expand(shape)


@dataclass
class _Run:
    """One evaluation. Partial operators are checked at once, all others only when the end is not finite."""

    terminals: Mapping[str, Tensor]
    language: Language
    formula: Node
    thorough: bool = False

    def value(self, node: Node) -> Tensor:
        import torch

        match node:
            case Constant(number):
                some = next(iter(self.terminals.values()))
                return torch.tensor(number, dtype=_precision(some), device=some.device)
            case Terminal(name):
                return self._statistic(name)
            case Call(name, arguments):
                operator = self.language.operators[name]
                values = [self.value(argument) for argument in arguments]
                # A power by a number, as papers write it: by a tensor, `x ** 0.5` is rounded otherwise.
                result = operator.apply(values[0], float(values[1])) if name == "**" else operator.apply(*values)
                if (operator.partial or self.thorough) and not _is_finite(result):
                    raise self.invalid(_complaint(node, values, result))
                return result

    def _statistic(self, name: str) -> Tensor:
        if name not in self.terminals:
            raise self.invalid(f"{name} was not measured on this model")
        tensor = self.terminals[name].to(_precision(self.terminals[name]))
        if self.thorough and not _is_finite(tensor):
            raise self.invalid(f"the statistic {name} is not finite on this model")
        return tensor

    def invalid(self, problem: str) -> SecateurError:
        return SecateurError(f'{self.language.name} "{format_expression(self.formula)}": {problem}')


def _extremes(tensor: Tensor) -> tuple[float, float]:
    """Smallest and largest value; one pass without a temporary, and NaN and infinity show in them."""
    low, high = tensor.aminmax()
    return float(low), float(high)


def _is_finite(tensor: Tensor) -> bool:
    return all(math.isfinite(extreme) for extreme in _extremes(tensor))


def _precision(tensor: Tensor) -> torch.dtype:
    import torch

    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _complaint(node: Call, values: list[Tensor], result: Tensor) -> str:
    count = int((~result.isfinite()).sum())
    where = "everywhere" if count == result.numel() else f"at {count} of {result.numel()} places"
    part = format_expression(node)
    if node.operator in ("/", "div") and (result.isinf() & (values[1] == 0)).any():
        return f"{part} divides by zero {'everywhere' if (values[1] == 0).all() else where}"
    return f"{part} {'yields NaN' if result.isnan().any() else 'is infinite'} {where}"
