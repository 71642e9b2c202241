"""What heads and neurons are taken for, tried on the model itself: a few forward passes over a few tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from tools.model.architecture import Projection, bias, weight
from tools.model.architecture.trace import plain_tokens
from tools.prune.structures.anatomy import Layer

if TYPE_CHECKING:
    from tools.model.checkpoint import Model

AGREES = 0.02
"""Share of what a unit's loss changes up to which two ways of losing it are one."""


def stands(model: Model, layers: Sequence[Layer]) -> bool:
    """Whether a model without the rows of a unit is the one without its columns, and another than the dense one.

    Where a norm stands between them (BitNet), what is left of it is another: then without the rows the columns must not
    count, and `LearntSmaller` has the norm's weights make up for its fewer channels.
    """
    if model.device == "meta":
        return True
    dense = logits(model)
    with _without(model, layers, rows=True, columns=False):
        rows = logits(model)
    with _without(model, layers, rows=False, columns=True):
        columns = logits(model)
    change = float((columns - dense).norm())
    if not change > 1e-5 * float(dense.norm()):
        return False
    if all(norm_between(model.network, layer) for layer in layers):
        with _without(model, layers, rows=True, columns=True):
            columns = logits(model)
    return float((rows - columns).norm()) <= AGREES * change


def norm_between(network: Any, layer: Layer) -> str:
    """Path of the weights of a norm by root mean square of all that a consumer reads; empty where there is none."""
    if layer.head or layer.consumer.part is not None:
        return ""
    owner = layer.consumer.name.rpartition(".")[0]
    for name, module in network.get_submodule(owner).named_modules(prefix=owner):
        weights = getattr(module, "weight", None)
        if "RMSNorm" in type(module).__name__ and weights is not None and len(weights) == layer.consumer.in_features:
            return f"{name}.weight"
    return ""


def logits(model: Model) -> torch.Tensor:
    """What a model says of a few tokens, in float32 on the CPU."""
    with torch.no_grad():
        found: torch.Tensor = model.network(plain_tokens(model.network).to(model.device), use_cache=False).logits
    return found.float().cpu()


@contextmanager
def _without(model: Model, layers: Sequence[Layer], *, rows: bool, columns: bool) -> Iterator[None]:
    """Zeros in the rows, or the columns, of the first unit of every layer, for a while."""
    projections = {p.name: p for p in model.architecture.projections}
    parameters = dict(model.network.named_parameters())
    first = torch.zeros(1, dtype=torch.int64, device=model.device)
    written: list[tuple[torch.Tensor, int, torch.Tensor, torch.Tensor]] = []

    def clear(tensor: torch.Tensor, axis: int, at: torch.Tensor) -> None:
        written.append((tensor, axis, at, tensor.index_select(axis, at).clone()))
        tensor.index_fill_(axis, at, 0)

    try:
        with torch.no_grad():
            for layer in layers:
                if columns:
                    clear(weight(model.network, layer.consumer), 1, layer.channels(first))
                for name in layer.producers if rows else ():
                    p = projections[name]
                    at, offset = layer.rows(p, first), bias(model.network, p)
                    clear(weight(model.network, p), 0, at)
                    if p.part is not None and f"{p.parameter}_bias" in parameters:
                        held = parameters[f"{p.parameter}_bias"].data
                        clear(held[p.part.expert], 0, rows_of_bias(p, at, held.shape[-1]))
                    elif offset is not None:
                        clear(offset.data, 0, at)
        yield
    finally:
        with torch.no_grad():
            for tensor, axis, at, held in written:
                tensor.index_copy_(axis, at, held)


def rows_of_bias(p: Projection, rows: torch.Tensor, width: int) -> torch.Tensor:
    """Where the biases of an expert's rows lie among the `width` ones of the parameter that holds its matrix."""
    assert p.part is not None
    row, column = p.part.strides
    step = p.in_features if column == 1 else 1
    turns = row == 2 * step and width == 2 * p.out_features
    first = (p.part.offset - p.part.expert * width * p.in_features) // step
    return first + rows * (2 if turns else 1)
