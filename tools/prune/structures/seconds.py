"""What layers cost on this machine, as a table: seconds of an attention by its head groups, of an MLP by its neurons;
widths between those that were timed are interpolated.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tools.io.errors import SecateurError
from tools.io.frozen import Frozen
from tools.recipe import Request

if TYPE_CHECKING:
    from tools.prune.structures.anatomy import Layer

DECODED = 16
"""Tokens that are decoded for the time of one; the request may ask for many more."""


class Seconds(Frozen):
    """Seconds of one request on one machine."""

    request: Request
    attention: dict[int, float]
    """Head groups -> seconds of one attention, with its part of the block's norms and residuals."""
    mlp: dict[int, float]
    """Neurons -> seconds of one MLP, likewise."""
    whole: float
    """Seconds of the dense model."""

    def of(self, layer: Layer, units: int) -> float:
        """Seconds of a layer with so many units; grows with their number."""
        return _interpolated(self.attention if layer.sublayer == "attention" else self.mlp, units)

    def of_blocks(self, layers: Sequence[Layer], share: float) -> float:
        """Which share of the blocks' time has to fall so that `share` of the whole model's time does.

        Raises:
            SecateurError: the blocks do not take that much.
        """
        blocks = sum(self.of(layer, layer.units) for layer in layers)
        found = share * self.whole / blocks
        if found >= 1:
            fastest = 1 / max(1e-9, 1 - blocks / self.whole)
            raise SecateurError(
                f"{1 / (1 - share):.3g} times faster cannot be reached: without any block the model would be "
                f"{fastest:.3g} times faster on this machine. Ask for less."
            )
        return found


def _interpolated(table: Mapping[int, float], units: int) -> float:
    """Piecewise linear between the widths that were timed; below the smallest in proportion."""
    known = sorted(table)
    place = bisect_left(known, units)
    if place == 0:
        return table[known[0]] * units / known[0]
    if place == len(known):
        return table[known[-1]] * units / known[-1]
    low, high = known[place - 1], known[place]
    return table[low] + (table[high] - table[low]) * (units - low) / (high - low)
