"""How much of a model is zero: by projection, and of all prunable weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tools.model.architecture import weight

if TYPE_CHECKING:
    from tools.model.checkpoint import Model


def sparsities(model: Model) -> dict[str, float]:
    """Share of exact zeros in each projection, by name."""
    held = {p: weight(model.network, p) for p in model.architecture.projections}
    return {p.name: (p.size - int(w.count_nonzero())) / p.size for p, w in held.items()}


def overall(model: Model, shares: Mapping[str, float]) -> float:
    """Share of zeros over all prunable weights, from that of every projection."""
    return sum(shares[p.name] * p.size for p in model.architecture.projections) / model.architecture.size
