"""A mixture with fewer experts, tried on the model itself: it is the dense one whose routers never choose the others.

Two forward passes over a few tokens. In the dense model what a router gives the experts that fall is made the lowest
number that there is, wherever its matrix is multiplied with; biases and corrections are, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from tools.io.errors import SecateurError, reason
from tools.model.architecture.counted import Counted
from tools.model.architecture.products import plainly
from tools.model.architecture.trace import plain_tokens
from tools.model.mixtures import Mixture

if TYPE_CHECKING:
    from tools.model.checkpoint import Model

AGREES = 1e-3
"""Relative error up to which two outputs are one; of half precision, its own."""
PRODUCTS = ("linear", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "addmm", "einsum")


def require_same(
    model: Model, mixtures: tuple[Mixture, ...], kept: Mapping[str, torch.Tensor], difference: Counted, small: Small
) -> None:
    """Refuse where the model with fewer experts is not the dense one whose routers leave the others out.

    Args:
        small: while open, the model is the smaller one.

    Raises:
        SecateurError: its outputs are others, or it fails.
    """
    name = type(model.network).__name__
    try:
        with masked(model.network, mixtures, kept, difference):
            wanted = _said(model)
        with small():
            found = _said(model)
    except SecateurError:
        raise
    except Exception as error:  # whatever a router trips over
        raise SecateurError(f"{name}: its routers do not work with fewer experts: {reason(error)}") from error
    difference_of = float((found - wanted).norm() / wanted.norm())
    most = max(AGREES, 16 * torch.finfo(model.network.dtype).eps)
    if not difference_of <= most:
        what = f"{name}: with fewer experts it is another model than without those that fall"
        raise SecateurError(f"{what} (outputs differ by {difference_of:.2g}): use --pattern unstructured")


Small = Callable[[], Any]


def _said(model: Model) -> torch.Tensor:
    with torch.no_grad(), plainly(model.network):
        logits: torch.Tensor = model.network(plain_tokens(model.network).to(model.device), use_cache=False).logits
    return logits.float()


@contextmanager
def masked(
    network: Any, mixtures: tuple[Mixture, ...], kept: Mapping[str, torch.Tensor], difference: Counted
) -> Iterator[None]:
    """While open, no router of the dense network chooses experts that are not kept."""
    maps: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    changed: list[tuple[torch.Tensor, torch.Tensor]] = []
    for of in mixtures:
        for name in of.routing:
            tensor, size = _tensor(network, name), difference.tensors[name][1]
            falls = torch.ones(size, dtype=torch.bool, device=tensor.device)
            falls[difference.indices(name, kept[of.experts].to(tensor.device))] = False
            if tensor.numel() > size:
                maps[id(tensor)] = (tensor, falls)
            elif tensor.is_floating_point():
                changed.append((tensor.data, tensor.data.clone()))
                tensor.data.masked_fill_(falls.view_as(tensor), _lowest(tensor))
    try:
        with _Masks(maps):
            yield
    finally:
        for tensor, before in changed:
            tensor.copy_(before)


class _Masks(TorchFunctionMode):
    """Fills what products with some matrices put out for the experts that fall; copies of these are followed."""

    def __init__(self, maps: dict[int, tuple[torch.Tensor, torch.Tensor]]) -> None:
        super().__init__()
        self._maps = maps

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not isinstance(result, torch.Tensor):
            return result
        given = [a for a in (*args, *(kwargs or {}).values()) if isinstance(a, torch.Tensor)]
        of = next((self._maps[id(a)] for a in given if id(a) in self._maps), None)
        if of is None:
            return result
        tensor, falls = of[0], of[1]
        if getattr(func, "__name__", "") in PRODUCTS:
            if result.shape[-1] == len(falls):
                return result.masked_fill(falls.to(result.device), _lowest(result))
        elif given[0] is not result and result.numel() == tensor.numel() and len(given) == 1:
            self._maps[id(result)] = (result, falls)  # cast, or transposed; kept alive with its number
        return result


def _tensor(network: Any, name: str) -> torch.Tensor:
    path, _, leaf = name.rpartition(".")
    tensor: torch.Tensor = getattr(network.get_submodule(path), leaf)
    return tensor


def _lowest(tensor: torch.Tensor) -> float:
    """Low enough to be never chosen, and so that sums and squares of it stay numbers."""
    return -1e4 if tensor.dtype == torch.float16 else -1e9
