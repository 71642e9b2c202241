"""Units: what shares one sparsity, a block, a layer (attention or MLP of a block) or a projection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tools.model.architecture import Architecture, Projection

Granularity = Literal["block", "layer", "projection"]
"""What a unit of a model is."""


@dataclass(frozen=True)
class Unit:
    """Projections that share one sparsity."""

    name: str
    block: int
    projections: tuple[Projection, ...]

    @property
    def size(self) -> int:
        """Number of its prunable weights."""
        return sum(p.size for p in self.projections)


def units(architecture: Architecture, granularity: Granularity) -> tuple[Unit, ...]:
    """The units of a model, in forward order."""
    grouped: dict[str, list[Projection]] = {}
    for p in architecture.projections:
        name = {"block": f"{p.block}", "layer": f"{p.block}.{p.sublayer}", "projection": p.name}[granularity]
        grouped.setdefault(name, []).append(p)
    return tuple(Unit(name, members[0].block, tuple(members)) for name, members in grouped.items())
