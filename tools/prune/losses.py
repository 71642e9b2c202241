"""What a model loses without one of its units: measured, as statistics of a layer say little of that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch

from tools.measure.divergence import DenseLogits, divergence, remember_dense
from tools.model.architecture import bias, weight
from tools.model.units import Granularity, Unit, units
from tools.prune.structures.anatomy import CONSUMERS
from tools.statistics.collect import shelf_of

if TYPE_CHECKING:
    from tools.model.checkpoint import Model
    from tools.text.windows import Windows


class Restorable(Protocol):
    """A model whose dense weights can be put back."""

    model: Model
    dense: dict[str, torch.Tensor]
    calibration: Windows
    cache: Path | None

    def restore(self) -> None:
        """Put them back."""


WINDOWS = 2
"""Calibration windows that a loss is taken on: one forward pass over them for every unit."""


def losses(
    held: Restorable, granularity: Granularity, progress: Callable[[int, int], None] | None = None
) -> list[float]:
    """Mean KL (nats per token) of the dense model without one unit, for every unit; kept beside the statistics."""
    members = units(held.model.architecture, granularity)
    windows = held.calibration.first(min(WINDOWS, len(held.calibration.ids)))

    def compute() -> dict[str, torch.Tensor]:
        held.restore()
        dense = remember_dense(held.model, windows)
        found = []
        for unit in members:
            found.append(_loss(held, unit, dense))
            if progress is not None:
                progress(len(found), len(members))
        return {"loss": torch.tensor(found, dtype=torch.float64)}

    kept = shelf_of(held.cache, held.model, windows).tensors(f"loss-{granularity}", compute)
    values: list[float] = kept["loss"].tolist()
    return values


def _loss(held: Restorable, unit: Unit, dense: DenseLogits) -> float:
    """KL without this unit: its weights and the bias of what reads it are zero for the time of the measurement."""
    model = held.model
    biases = [bias(model.network, p) for p in unit.projections if p.role in CONSUMERS]
    kept = [(own, own.detach().clone()) for own in biases if own is not None]
    with torch.inference_mode():
        for p in unit.projections:
            weight(model.network, p).zero_()
        for own, _ in kept:
            own.zero_()
        found = divergence(model, dense, len(dense.windows.ids), sparsity=0.0).value
        for p in unit.projections:
            weight(model.network, p).copy_(held.dense[p.name])
        for own, values in kept:
            own.copy_(values)
    return found
