"""Write a candidate into the resident model: what falls becomes zeros, what stays may make up for it.

Rows of the producers and columns of the consumer become zero, which is the same model as the smaller one; biases of a
layer that falls whole become zero too. So a candidate costs no new network, and dense weights can be written back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tools.io.errors import SecateurError
from tools.model.architecture import bias, weight
from tools.prune.structures.anatomy import Layer
from tools.prune.structures.stream import CATCH_UP
from tools.recipe import Compensation
from tools.statistics.inputs import InputStatistics

if TYPE_CHECKING:
    from tools.model.checkpoint import Model


@dataclass(frozen=True)
class Layout:
    """Which units of which layer stay: what a smaller model is made from."""

    layers: tuple[Layer, ...]
    kept: tuple[torch.Tensor, ...]
    """Indices of the units of each layer, ascending; empty where the whole layer falls."""

    @property
    def sizes(self) -> list[int]:
        """Units that stay, layer by layer; 0 where the whole layer falls."""
        return [len(kept) for kept in self.kept]


def cut_layer(
    model: Model,
    layer: Layer,
    kept: torch.Tensor,
    weights: Mapping[str, torch.Tensor],
    inputs: InputStatistics,
    compensation: Compensation,
) -> None:
    """Write one layer into the model.

    Args:
        kept: indices of the units that stay. weights: (out, in) by name, read. inputs: statistics of the consumer's
            input, for the compensation.
    """
    for producer in model.architecture.of_block(layer.block):
        if producer.name in layer.producers:
            rows, w = layer.rows(producer, kept), weights[producer.name]
            weight(model.network, producer).copy_(torch.zeros_like(w).index_copy_(0, rows, w[rows]))
    consumer, channels = layer.consumer, layer.channels(kept)
    w = weights[consumer.name]
    columns = torch.zeros_like(w)
    if compensation.kind == "least_squares" and (0 < len(kept) < layer.units or inputs.missing is not None):
        columns[:, channels] = least_squares(w, inputs, channels, compensation.damping).to(w.dtype)
    else:
        columns[:, channels] = w[:, channels]
    weight(model.network, consumer).copy_(columns)
    offset = bias(model.network, consumer)
    if offset is not None and not len(kept) and not layer.group:  # what is learnt is left out by a hook
        offset.data.zero_()
    elif offset is not None and compensation.kind == "bias":
        offset.data += lost_on_average(w, inputs, channels).to(offset.dtype)


def fallen(model: Model, layout: Layout) -> dict[str, float]:
    """Share of every projection that lies in structures that fall and is really zero, by name."""
    found = {}
    for layer, kept in zip(layout.layers, layout.kept, strict=True):
        falls = torch.ones(layer.units, dtype=torch.bool, device=kept.device)
        falls[kept] = False
        lost = falls.nonzero().flatten()
        for p in model.architecture.of_block(layer.block):
            if p.name in layer.members:
                rows, w = p.name in layer.producers, weight(model.network, p)
                falling = layer.rows(p, lost) if rows else layer.channels(lost)
                gone = w.index_select(0 if rows else 1, falling.to(w.device))
                found[p.name] = (gone.numel() - int(gone.count_nonzero())) / p.size
    return found


def least_squares(w: torch.Tensor, inputs: InputStatistics, kept: torch.Tensor, damping: float) -> torch.Tensor:
    """(out, kept) the matrix V over the channels that stay with the smallest ||X W^T + c E - X_K V^T||.

    V = W_K + (W_R G_RK + c E^T X_K) (G_KK + damping mean(diag G) I)^-1, with G = X^T X, K what stays, R what falls; E
    is what the model lacks after this layer as it was (nothing where that was not recorded), c = `CATCH_UP`. Written as
    a correction, the ridge pulls towards the weights as they are, not towards zero.
    """
    assert inputs.gram is not None, "least squares needs Gram matrices"
    rows, falls = inputs.gram[kept], torch.ones(w.shape[1], dtype=torch.bool, device=w.device)
    falls[kept] = False
    lost = rows[:, falls] @ w[:, falls].float().T
    if inputs.missing is not None:
        lost += CATCH_UP * inputs.missing[kept]
    inner = rows[:, kept].double()
    ridge = damping * inputs.gram.diagonal().mean(dtype=torch.float64)
    if ridge == 0:  # it reads zeros only: there is nothing to make up for
        return w[:, kept]
    inner.diagonal().add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(inner)
    if failed:
        raise SecateurError("least squares has no solution: activations are not finite; use another --dtype")
    correction = torch.cholesky_solve(lost.double(), factor)
    return (w[:, kept].double() + correction.T).to(w.dtype)


def lost_on_average(w: torch.Tensor, inputs: InputStatistics, kept: torch.Tensor) -> torch.Tensor:
    """(out,) what the channels that fall add to the output on average: W_R E[X_R] (FLAP)."""
    falls = torch.ones(w.shape[1], dtype=torch.bool, device=w.device)
    falls[kept] = False
    return w[:, falls].float() @ inputs.mean[falls].to(w.device)
