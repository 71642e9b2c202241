"""What a family that no entry names is taken for, tried on the model itself: two forward passes over a few tokens.

In both, every matrix that writes to the stream writes zeros, so that no block reads what another one wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from tools.io.errors import SecateurError
from tools.model.architecture.trace import plain_tokens
from tools.model.blocks import output_of
from tools.prune.structures.anatomy import Layer, as_one
from tools.prune.structures.shrink import check_stated

if TYPE_CHECKING:
    from tools.model.checkpoint import Model

AGREES = 1e-3
"""Relative error up to which two sums are one."""


def told_apart(model: Model, layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The same layers; one whose units are not what they are taken for can only fall as a whole."""
    if model.device == "meta":
        return tuple(layers)
    whole, without = _read(model, layers, ()), _read(model, layers, layers)
    apart = tuple(of if _apart(of, whole, without) else as_one(of) for of in layers)
    for sublayer in ("attention", "mlp"):  # of what stays apart, less has to be a model that can be written down
        sizes = [-(-of.units // 2) if of.sublayer == sublayer else of.units for of in apart]
        try:
            check_stated(model, apart, sizes)
        except SecateurError:
            apart = tuple(as_one(of) if of.sublayer == sublayer else of for of in apart)
    return apart


def require_identity(model: Model, layers: Sequence[Layer]) -> None:
    """Refuse to leave blocks out whose place is not empty without their layers: of norms after the sum, for example.

    Raises:
        SecateurError: what enters a block is not what leaves it when its layers write nothing.
    """
    blocks = list(model.network.get_submodule(model.architecture.blocks))
    changed: list[bool] = []

    def compare(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        before = (args[0] if args else kwargs["hidden_states"]).float()
        after = output_of(result).float().view_as(before)
        changed.append(float((after - before).norm()) > AGREES * float(before.norm()))

    handles = [block.register_forward_hook(compare, with_kwargs=True) for block in blocks]
    try:
        _read(model, layers, ())
    finally:
        for handle in handles:
            handle.remove()
    if any(changed):
        what = f"{type(model.network).__name__}: without its attention and MLP a block still changes what it is given"
        raise SecateurError(f"{what}, so none can be left out: use width or unstructured")


def _apart(layer: Layer, whole: dict[str, torch.Tensor], without: dict[str, torch.Tensor]) -> bool:
    """Whether the first unit, without its rows, writes nothing, and all others write what they did."""
    if layer.units == 1:
        return True
    dense, less = whole[layer.consumer.name], without[layer.consumer.name]
    first = layer.channels(torch.zeros(1, dtype=torch.int64, device=dense.device))
    others = torch.ones(dense.shape[-1], dtype=torch.bool, device=dense.device)
    others[first] = False
    error = torch.stack([(dense[..., others] - less[..., others]).float().norm(), less[..., first].float().norm()])
    return float(error.max()) <= AGREES * float(dense.float().norm())


def _read(model: Model, layers: Sequence[Layer], without: Sequence[Layer]) -> dict[str, torch.Tensor]:
    """What every layer's consumer reads, by its name; of the layers `without`, the first unit's rows are zeros."""
    seen: dict[str, torch.Tensor] = {}
    first = torch.zeros(1, dtype=torch.int64, device=model.device)

    def silence(name: str) -> Callable[..., torch.Tensor]:
        def hook(module: Any, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
            seen[name] = args[0].detach()
            return torch.zeros_like(output)

        return hook

    def fell(rows: torch.Tensor) -> Callable[..., torch.Tensor]:
        return lambda module, args, output: output.index_fill(-1, rows, 0)

    hooks = [(layer.consumer.name, silence(layer.consumer.name)) for layer in layers]
    for layer in without:
        members = [p for p in model.architecture.of_block(layer.block) if p.name in layer.producers]
        hooks += [(p.name, fell(layer.rows(p, first))) for p in members if layer.units > 1]
    with _hooked(model, hooks), torch.no_grad():
        model.network(plain_tokens(model.network).to(model.device), use_cache=False)
    return seen


@contextmanager
def _hooked(model: Model, hooks: Sequence[tuple[str, Callable[..., torch.Tensor]]]) -> Iterator[None]:
    handles = [model.network.get_submodule(name).register_forward_hook(hook) for name, hook in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
