"""The dense model's residual stream beside the smaller model's: what the smaller one lacks so far, and who makes up.

Least squares on a layer's own inputs (SlimGPT, ZipLM) restores what that layer lost, not what the layers before it, or
whole blocks that fell, have lost. Here every matrix that writes to the stream is fitted to the dense stream, as QEP and
GPTAQ do it for quantisation: a share of what is missing just before the next layer that stays is asked of it, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from tools.model.blocks import Passes, passes
from tools.model.checkpoint import Model
from tools.prune.structures.anatomy import Layer

CATCH_UP = 0.25
"""Share of what is missing that a layer is asked for. All layers together catch up; with 1 each fits the calibration
text's noise. On SmolLM2-135M at 50 %, 8,192 tokens of C4, perplexity on WikiText-2's validation text was 369 with 0,
229 with 0.25, 256 with 0.5; at 30 % it was 99 with 0, 72 with 0.5, 110 with 1."""
AGREES = 0.02
"""Relative error up to which a block's output is its input plus what its layers write; bfloat16 rounds by 0.4 %."""


@dataclass
class Seen:
    """The last input and output of a module."""

    inputs: torch.Tensor
    output: torch.Tensor


@contextmanager
def watching(model: Model, layers: Sequence[Layer]) -> Iterator[dict[str, Seen]]:
    """While open, a forward pass leaves what the layers' consumers read and write, by their names."""
    seen: dict[str, Seen] = {}

    def hook(name: str) -> Any:
        return lambda module, args, output: seen.__setitem__(name, Seen(args[0], output))

    consumers = [layer.consumer.name for layer in layers]
    handles = [model.network.get_submodule(name).register_forward_hook(hook(name)) for name in consumers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def added(before: torch.Tensor, layers: Sequence[Layer], seen: dict[str, Seen]) -> torch.Tensor:
    """The stream after these layers of one block: what entered the block, plus what their consumers wrote."""
    for layer in layers:
        before = before + seen[layer.consumer.name].output.view_as(before)
    return before


class DenseStream:
    """The dense stream after every layer that is asked for, in batches; runs ahead of the cutting, block by block."""

    def __init__(
        self,
        ahead: Passes,
        layers: Sequence[Layer],
        sizes: Sequence[int],
    ) -> None:
        """Args: ahead: passes that nobody else moves, before the first block. sizes: units of every layer that stay."""
        self._ahead, self._layers = ahead, layers
        self._next = next_points(sizes)
        self._points: dict[int, list[torch.Tensor]] = {}

    def before_next(self, place: int) -> list[torch.Tensor]:
        """Batches of the dense stream as the next layer that stays after layer `place` reads it."""
        return self._points[self._next[place]]

    def enter(self, block: int) -> None:
        """Get ready what the layers of `block` will ask for: to be called before anything of it is cut."""
        asked = [self._next[i] for i, layer in enumerate(self._layers) if layer.block == block and i in self._next]
        last = max([block, *(self._layers[point].block for point in asked)])
        self._points = {point: held for point, held in self._points.items() if self._layers[point].block >= block}
        while self._ahead.block <= last:
            self._run(self._ahead.block)

    def _run(self, block: int) -> None:
        members = [i for i, layer in enumerate(self._layers) if layer.block == block]
        wanted = set(self._next.values())
        layers = [self._layers[i] for i in members]
        after = []
        with watching(self._ahead.model, layers) as seen:
            for k, x in enumerate(self._ahead.hidden):
                after.append(self._ahead.run(k))
                for count, i in enumerate(members[:-1], start=1):
                    if i in wanted:
                        self._points.setdefault(i, []).append(added(x, layers[:count], seen))
        if members and members[-1] in wanted:
            self._points[members[-1]] = after
        self._ahead.go_on(after)


def next_points(sizes: Sequence[int]) -> dict[int, int]:
    """Layer that stays -> the layer after which the stream has to be right for the next one that stays."""
    found: dict[int, int] = {}
    point = len(sizes) - 1
    for place in reversed(range(len(sizes))):
        if sizes[place]:
            found[place], point = point, place - 1
    return found


def adds_up(model: Model, layers: Sequence[Layer], ids: torch.Tensor) -> bool:
    """Whether every block of the model as it stands only adds what its layers' consumers write, on ids (b, length).

    Norms after layers (Gemma 2) and multipliers (Granite) break that; such models are fitted layer by layer.
    """
    with passes(model, [ids]) as held:
        for block in range(model.architecture.n_blocks):
            members = [layer for layer in layers if layer.block == block]
            (hidden,) = held.hidden
            with watching(model, members) as seen:
                after = held.run(0)
            written = (after - hidden).float()
            error = (after - added(hidden, members, seen)).float()
            if float(error.norm()) > AGREES * float(written.norm()):
                return False
            held.go_on([after])
    return True
