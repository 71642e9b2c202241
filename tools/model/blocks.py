"""Run a model one transformer block at a time: its own forward passes, held before each block.

What a block is called with beside its hidden states differs from window to window (the per-layer inputs of Gemma 3n),
with the size of a batch (the biases of ALiBi) and with what earlier blocks said (keys and values that layers share). So
nothing of a call is recorded and used again: every batch has a forward pass of the network itself, which waits before
the block that is worked on and goes on through it afterwards, whatever stands between two blocks. The passes are
greenlets of one thread, so that they share torch's modes and its pool of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from greenlet import getcurrent, greenlet

from tools.io.errors import SecateurError
from tools.model.checkpoint import Model

CHECK_TOKENS = 2 * 64
"""What checking may cost: tokens of forward pass."""
AGREES = {"float32": 1e-3, "bfloat16": 5e-2, "float16": 1e-2}
"""Relative (Frobenius) error up to which the output of a block is that of the whole pass: sums in another order."""


class _Reached(Exception):
    """What was wanted was reached; the rest of the block is not needed."""


@dataclass
class _Held:
    """A forward pass that waits before a block."""

    wait: greenlet
    at: int = 0
    """The block; their number once the pass is over."""
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    result: Any = None
    """What the block returned when it ran last."""


class Passes:
    """Forward passes over batches of windows, all of them held before the same block.

    A pass may leave a block out (Llama 3.2's cross-attention, where there is no image): it then waits before a later
    one, and the block that it left out hands on what it was given.

    Blocks run in whatever mode torch is in when they are asked to (`inference_mode`, gradients or none).
    """

    def __init__(self, model: Model, batches: Sequence[torch.Tensor]) -> None:
        self.model = model
        self.block = 0
        """The block that all passes wait before; after the last one their number."""
        self._blocks = list(model.network.get_submodule(model.architecture.blocks))
        self._forwards = [block.forward for block in self._blocks]
        self._hooked = [vars(block).get("forward") for block in self._blocks]
        """What others, as other passes do, have set in the place of a class's `forward`."""
        self._batches = batches
        self._held: list[_Held] = []

    @property
    def hidden(self) -> list[torch.Tensor]:
        """Of every pass the hidden states (batch, length, width) that enter the block."""
        return [_entering(held) for held in self._held]

    def at(self, place: int) -> int:
        """The block that one pass waits before, this one or a later one; their number where it is over."""
        return self._held[place].at

    def run(self, place: int) -> torch.Tensor:
        """Output of the block, as it is now, for one pass, which goes on waiting."""
        held = self._held[place]
        if held.at > self.block:
            return _entering(held)
        held.result = None  # or it would be held beside the new one
        held.result = self._blocks[self.block](*held.args, **held.kwargs)
        return output_of(held.result)

    def run_until(self, place: int, name: str) -> None:
        """Run the block for one pass as far as its module `name`, hooks included, for what they see."""

        def stop(module: torch.nn.Module, args: tuple[Any, ...], output: Any) -> None:
            raise _Reached

        handle = self.model.network.get_submodule(name).register_forward_hook(stop)
        try:
            self.run(place)
        except _Reached:
            return
        finally:
            handle.remove()
        raise AssertionError(f"block {self.block} did not run {name}")

    def go_on(self, outputs: Sequence[torch.Tensor] | None = None) -> None:
        """Let every pass go through the block, as it is now, to the next one.

        Args:
            outputs: of every pass what leaves the block, where that is known; otherwise the block is run. A block that
                hands on more than hidden states was run before.

        Raises:
            SecateurError: the network's forward pass does not go through its blocks in order, once through each.
        """
        for place, held in enumerate(self._held):
            if held.at > self.block:
                continue
            if outputs is None:
                self.run(place)
                result = held.result
            else:
                result = _with_output(held.result, outputs[place])
            held.result, held.args, held.kwargs = None, (), {}
            if self.block + 1 < len(self._blocks):  # what follows the last block is of no use
                self._meet(held, held.wait.switch(result), self.block + 1, result)
        self.block += 1

    def _meet(self, held: _Held, met: Any, expected: int, result: Any = None) -> None:
        """Take note of what a pass stopped at: the block that is expected or a later one, if all is well.

        Args:
            result: of the block before, which is what leaves the last ones where the pass leaves them out.
        """
        if held.wait.dead:
            met = len(self._blocks), (output_of(result),), {}
        held.at, held.args, held.kwargs = met
        if held.at < expected:
            raise _out_of_order(self.model, held.at, expected)

    def start(self) -> None:
        """Begin the passes; blocks are found by `forward`, which every call of a module comes to."""
        main = getcurrent()

        def pausing(index: int) -> Callable[..., Any]:
            def forward(*args: Any, **kwargs: Any) -> Any:
                inside = getcurrent() is not main
                return main.switch((index, args, kwargs)) if inside else self._forwards[index](*args, **kwargs)

            return forward

        for index, block in enumerate(self._blocks):
            block.forward = pausing(index)
        for ids in self._batches:
            held = _Held(greenlet(self._pass))
            self._held.append(held)
            self._meet(held, held.wait.switch(ids), 0)

    def _pass(self, ids: torch.Tensor) -> None:
        self.model.network(ids.to(self.model.device), use_cache=False)

    def stop(self) -> None:
        """End the passes where they wait, and leave no trace in the network."""
        for held in self._held:
            held.wait.throw()  # nothing happens to one that is over
        self._held.clear()
        for block, before in zip(self._blocks, self._hooked, strict=True):
            vars(block).pop("forward", None)
            if before is not None:
                block.forward = before


@contextmanager
def passes(model: Model, batches: Sequence[torch.Tensor]) -> Iterator[Passes]:
    """Forward passes over batches of token ids (b, length), held before the first block.

    Raises:
        SecateurError: as `Passes.go_on` does.
    """
    found = Passes(model, batches)
    try:
        found.start()
        yield found
    finally:
        found.stop()


def check_blocks(model: Model, windows: torch.Tensor) -> None:
    """Prove that blocks run one at a time put out what they do in a whole forward pass, on two windows.

    Every form that goes block after block begins with it: what such a form measures are then the model's own
    activations. Costs no more than one forward pass over `CHECK_TOKENS` tokens; the model is as it was.

    Args:
        windows: token ids (count, length); the beginnings of the first two are read.

    Raises:
        SecateurError: they do not.
    """
    few = windows[:2, : CHECK_TOKENS // (2 * 3)]  # read three times: by whole passes, and by every block twice
    with torch.inference_mode():
        whole = _whole_passes(model, few)
        with passes(model, [few]) as held:
            for block, expected in enumerate(whole):
                if expected is not None and held.at(0) > block:
                    raise _out_of_order(model, held.at(0), block)
                found = [held.run(0), held.run(0)]
                for error in () if expected is None else [_difference(one, expected) for one in found]:
                    if not error <= AGREES[model.dtype]:
                        raise SecateurError(
                            f"{type(model.network).__name__}: alone, block {block} puts out something else than in the "
                            f"whole model (relative error {error:.2g}), so it cannot be pruned block after block. Use "
                            "a method that reads no inputs, for example magnitude."
                        )
                held.go_on(found[1:])


def _out_of_order(model: Model, block: int, expected: int) -> SecateurError:
    return SecateurError(
        f"{type(model.network).__name__} ran block {block} where block {expected} was expected: it does not go through "
        "its blocks in order, once through each, so it cannot be pruned block after block. Use a method that reads no "
        "inputs, for example magnitude."
    )


def _whole_passes(model: Model, windows: torch.Tensor) -> list[torch.Tensor | None]:
    """The output of every block in whole forward passes, one for each window, put together; None where none ran it."""
    blocks = list(model.network.get_submodule(model.architecture.blocks))
    found: list[list[torch.Tensor]] = [[] for _ in blocks]

    def keep(outputs: list[torch.Tensor]) -> Callable[..., None]:
        return lambda module, args, result: outputs.append(output_of(result).clone())

    handles = [block.register_forward_hook(keep(found[i])) for i, block in enumerate(blocks)]
    try:
        for ids in windows:
            model.network(ids.unsqueeze(0).to(model.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    odd = next((i for i, outputs in enumerate(found) if len(outputs) not in (0, len(windows))), None)
    if odd is not None:
        raise SecateurError(
            f"{type(model.network).__name__} runs block {odd} {len(found[odd]) // len(windows)} times in a forward "
            "pass, so it cannot be pruned block after block. Use a method that reads no inputs, for example magnitude."
        )
    return [torch.stack(outputs) if outputs else None for outputs in found]


def _difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative (Frobenius) error of a batch of outputs to the outputs of its windows (window, 1, length, width).

    A family may have another axis before that of the batch (Gemma 3n).
    """
    axis = next((i for i in range(1, expected.dim()) if expected.shape[i] == 1), 1)
    together = torch.cat(list(expected), dim=axis - 1).float().view_as(found)
    return float((found.float() - together).norm() / together.norm().clamp_min(1e-30))


def trunk_of(network: Any, blocks: str) -> Any:
    """The part of a network that holds its blocks, without the output head where it can be run alone.

    Asking for the logits of the last token only is no way to save the others: a family may then drop the other tokens
    before its last blocks (Gemma 4).

    Args:
        blocks: path of the list of blocks.
    """
    inside = network.base_model_prefix and blocks.startswith(f"{network.base_model_prefix}.")
    return network.base_model if inside else network


def calls_of(network: Any, blocks: Sequence[Any], ids: torch.Tensor, cache: Any = None) -> list[Callable[[], object]]:
    """Every block as it is called in one forward pass over `ids` (with the cache that is given), to be repeated.

    For times only: what a block is called with, the output of the one before it among that, stays what it was.

    Args:
        network: or its trunk, see `trunk_of`.
    """
    seen: list[Callable[[], object]] = []

    def record(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(partial(module.forward, *args, **kwargs))

    handles = [block.register_forward_pre_hook(record, with_kwargs=True) for block in blocks]
    try:
        with torch.inference_mode():
            network(ids, past_key_values=cache, use_cache=cache is not None)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _entering(held: _Held) -> torch.Tensor:
    given = [*held.args[:1], held.kwargs.get("hidden_states"), *held.kwargs.values()]
    hidden: torch.Tensor = next(value for value in given if isinstance(value, torch.Tensor))
    return hidden


def _with_output(result: Any, hidden: torch.Tensor) -> Any:
    """What a block returned, with other hidden states."""
    if not isinstance(result, tuple | list):
        return hidden
    make = getattr(result, "_make", type(result))  # a tuple with names takes its members one by one (Reformer)
    return make((hidden, *result[1:]))


def output_of(result: Any) -> torch.Tensor:
    """The hidden states a block returns, whether it returns them alone or first of several things."""
    hidden: torch.Tensor = result[0] if isinstance(result, tuple | list) else result
    return hidden
