"""Run a model one transformer block at a time.

What a block is called with beside its hidden states (masks, rotary embeddings, which differ between the local and
global blocks of Gemma) depends on the length of the windows only; it is recorded once from a forward pass over one
window and used again for every batch.
"""

from __future__ import annotations

from typing import Any

import torch

from tools.checkpoint import Model


class _Reached(Exception):
    """What was wanted was reached; the rest of the forward pass is not needed."""


class BlockRunner:
    """Calls single blocks of `model` on hidden states (batch, length, width)."""

    def __init__(self, model: Model, window: torch.Tensor) -> None:
        """Record how each block is called.

        Args:
            window: (1, length) token ids; every later batch must have this length.
        """
        self.model = model
        self.blocks = list(model.network.get_submodule(model.architecture.blocks))
        self._calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        handles = [block.register_forward_pre_hook(self._record, with_kwargs=True) for block in self.blocks]
        try:
            # Not inference mode: what is recorded is used again where gradients are wanted.
            with torch.no_grad():
                model.network(window.to(model.device), use_cache=False, logits_to_keep=1)
        finally:
            for handle in handles:
                handle.remove()

    def _record(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._calls.append((args[1:], {k: v for k, v in kwargs.items() if k != "hidden_states"}))

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Hidden states (batch, length, width) that enter the first block."""
        caught: list[torch.Tensor] = []

        def stop(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            caught.append(args[0] if args else kwargs["hidden_states"])
            raise _Reached

        handle = self.blocks[0].register_forward_pre_hook(stop, with_kwargs=True)
        try:
            self.model.network(ids.to(self.model.device), use_cache=False)
        except _Reached:
            return caught[0]
        finally:
            handle.remove()
        raise AssertionError("a forward pass did not enter the first block")

    def run(self, index: int, hidden: torch.Tensor) -> torch.Tensor:
        """Output of block `index` for hidden states (batch, length, width)."""
        args, kwargs = self._calls[index]
        return output_of(self.blocks[index](hidden, *args, **kwargs))

    def run_until(self, index: int, hidden: torch.Tensor, name: str) -> None:
        """Run block `index` as far as its module `name`, hooks included, for what they see."""

        def stop(module: torch.nn.Module, args: tuple[Any, ...], output: Any) -> None:
            raise _Reached

        handle = self.model.network.get_submodule(name).register_forward_hook(stop)
        try:
            self.run(index, hidden)
        except _Reached:
            return
        finally:
            handle.remove()
        raise AssertionError(f"block {index} did not run {name}")


def output_of(result: Any) -> torch.Tensor:
    """The hidden states a block returns, whether it returns them alone or first of a tuple."""
    hidden: torch.Tensor = result[0] if isinstance(result, tuple) else result
    return hidden
