"""A formula's value on tensors: one tensor expression at a time, in float32 (float64 stays), inputs never written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tools.errors import SecateurError
from tools.expression.nodes import Call, Constant, Node, Terminal, children
from tools.expression.operators import ALLOCATION, METRIC
from tools.expression.text import format_expression

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_APPLY = {name: operator.apply for name, operator in {**METRIC.operators, **ALLOCATION.operators}.items()}


def evaluate(node: Node, terminals: Mapping[str, Tensor]) -> Tensor:
    """The value of a formula, broadcast to the common shape of all terminals given.

    Args:
        node: a parsed formula.
        terminals: each terminal's tensor under its name (`outliers(5)` under exactly that): (out, in), (1, in) for a
            metric, (units,) for an allocation. More than the formula reads may be there.

    Returns:
        (out, in) where `W` was given, (units,) for an allocation. It may share memory with a terminal or with itself
        (a broadcast view): read it, do not write into it.

    Raises:
        SecateurError: a terminal is missing, a value is not finite, or all values are equal, so that they rank nothing.
    """
    import torch

    shape: torch.Size = torch.broadcast_shapes(*(tensor.shape for tensor in terminals.values()))
    value = _value(node, terminals)
    # The extremes say in one pass, without a temporary, whether all is finite: NaN and infinity show in them.
    low, high = (float(extreme) for extreme in value.aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise SecateurError(f"{_name(node, terminals)}: {_diagnosis(node, terminals)}")
    if low == high and shape.numel() > 1:
        raise SecateurError(f"{_name(node, terminals)}: is {low:g} everywhere, which ranks nothing")
    return value.expand(shape)


def _value(node: Node, terminals: Mapping[str, Tensor]) -> Tensor:
    import torch

    match node:
        case Constant(value):
            some = next(iter(terminals.values()))
            return torch.tensor(value, dtype=_precision(some), device=some.device)
        case Terminal(name):
            if name not in terminals:
                raise SecateurError(f"{_name(node, terminals)}: {name} was not measured on this model")
            tensor = terminals[name]
            return tensor.to(_precision(tensor))
        case Call(operator, arguments):
            return _APPLY[operator](*(_value(argument, terminals) for argument in arguments))


def _precision(tensor: Tensor) -> torch.dtype:
    import torch

    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _name(node: Node, terminals: Mapping[str, Tensor]) -> str:
    language = METRIC if "W" in terminals else ALLOCATION
    return f'{language.name} "{format_expression(node)}"'


def _diagnosis(node: Node, terminals: Mapping[str, Tensor]) -> str:
    """What goes wrong in the innermost part that is not finite although all it reads is."""
    for child in children(node):
        if not _value(child, terminals).isfinite().all():
            return _diagnosis(child, terminals)
    value = _value(node, terminals)
    part = format_expression(node)
    if isinstance(node, Terminal):
        return f"the statistic {part} is not finite on this model"
    count = int((~value.isfinite()).sum())
    where = "everywhere" if count == value.numel() else f"at {count} of {value.numel()} places"
    if isinstance(node, Call) and node.operator in ("/", "div"):
        divisor = _value(node.arguments[1], terminals)
        if (divisor == 0).any():
            return f"{part} divides by zero {'everywhere' if (divisor == 0).all() else where}"
    return f"{part} {'yields NaN' if value.isnan().any() else 'is infinite'} {where}"
