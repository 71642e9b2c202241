"""A priority per unit becomes exact sparsities.

Priorities of units (`tools.model.units`) come from an allocation expression; `sparsities` maps them as OWL does
(luuyin/OWL lib/prune_all.py l.139-154) and `water_fill` makes the parameter-weighted mean exact within the bounds.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tools.io.errors import SecateurError
from tools.model.units import Unit
from tools.recipe import Allocation


def keep_from_priority(priority: torch.Tensor, sparsity: float, width: float) -> torch.Tensor:
    """keep = (1 - S) + 2 width (q - mean q), q = priority scaled to [0, 1] (OWL; DLP and ATP are special cases)."""
    low, high = priority.min(), priority.max()
    q = (priority - low) / (high - low) if high > low else torch.zeros_like(priority)
    return (1 - sparsity) + 2 * width * (q - q.mean())


def water_fill(
    wanted: torch.Tensor, sizes: torch.Tensor, target: float, bounds: tuple[float, float] = (0.0, 1.0)
) -> torch.Tensor:
    """The sparsities nearest to `wanted` within the bounds whose size-weighted mean is `target`.

    clip(wanted + shift) with the one shift that hits the mean: it is piecewise linear and rising in the shift, so the
    breakpoints are sorted and the last piece is solved exactly.

    Args:
        wanted: (L,) sparsities. sizes: (L,) parameter counts. target: the mean to reach.

    Raises:
        SecateurError: no vector within the bounds has that mean.
    """
    low, high = bounds
    if not low - 1e-12 <= target <= high + 1e-12:
        raise SecateurError(f"sparsity {target:g} cannot be reached with every part between {low:g} and {high:g}")
    w, n = wanted.double(), sizes.double()
    weights = n / n.sum()
    knots = torch.cat([low - w, high - w]).sort().values
    means = ((w + knots.unsqueeze(1)).clamp(low, high) * weights).sum(1)
    right = min(int(torch.searchsorted(means, target)), len(knots) - 1)
    left = max(right - 1, 0)
    rise = means[right] - means[left]
    part = (target - means[left]) / rise if rise > 0 else torch.zeros(())
    return (w + knots[left] + part * (knots[right] - knots[left])).clamp(low, high)


def check_length(allocation: Allocation, members: Sequence[Unit]) -> None:
    """Raise SecateurError where a vector has another length than the model has units."""
    if allocation.vector is not None and len(allocation.vector) != len(members):
        there = f"the model has {len(members)} {allocation.granularity}s"
        raise SecateurError(f"the allocation has {len(allocation.vector)} rates, {there}")


def sparsities(
    allocation: Allocation, members: Sequence[Unit], sparsity: float, priority: torch.Tensor | None
) -> dict[str, float]:
    """Sparsity of every projection by name; the parameter-weighted mean is `sparsity`.

    Args:
        priority: (L,) value of the allocation's expression per unit; None for uniform and for explicit vectors.

    Raises:
        SecateurError: a vector of another length than the model has units, or a mean out of reach.
    """
    sizes = torch.tensor([u.size for u in members], dtype=torch.float64)
    if allocation.uniform:
        wanted = torch.full((len(members),), sparsity, dtype=torch.float64)
    elif allocation.vector is not None:
        check_length(allocation, members)
        wanted = torch.tensor(allocation.vector, dtype=torch.float64)
    else:
        assert priority is not None, "an expression needs its value"
        wanted = 1 - keep_from_priority(priority.double(), sparsity, allocation.width)
    exact = water_fill(wanted, sizes, sparsity, allocation.bounds)
    return {p.name: float(s) for unit, s in zip(members, exact, strict=True) for p in unit.projections}
