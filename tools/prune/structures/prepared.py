"""A recipe for structures, made ready for a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tools.prune.prepared import Prepared
from tools.prune.structures.anatomy import Layer


@dataclass(frozen=True)
class Cut(Prepared):
    """With how many units of every layer stay."""

    layers: Sequence[Layer]
    sizes: tuple[int, ...]
    """Units that stay, layer by layer."""

    @property
    def of_this_machine(self) -> str:
        """The sizes, where they were fitted to times that this machine measured."""
        return "" if self.recipe.pattern.timed is None else str(self.sizes)
