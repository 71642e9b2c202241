"""A mixture with fewer experts, tried on the model itself: it is the dense one whose routers never choose the others.

Two forward passes over a few tokens. In the dense model what a router gives the experts that fall is made the lowest
number that there is, wherever its matrix is multiplied with; biases and corrections are, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
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

Opened = Callable[[], AbstractContextManager[None]]

AGREES = 1e-3
"""Relative error up to which two outputs are one; of half precision, its own."""
PRODUCTS = ("linear", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "addmm", "einsum")


def require_same(
    model: Model, mixtures: tuple[Mixture, ...], kept: Mapping[str, torch.Tensor], difference: Counted, small: Opened
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
        with small(), _Masks(_maps(_falling(model.network, mixtures, None, difference))):
            found = _said(model)
    except SecateurError:
        raise
    except Exception as error:  # whatever a router trips over
        raise SecateurError(f"{name}: its routers do not work with fewer experts: {reason(error)}") from error
    each = (found - wanted).norm(dim=-1) / wanted.norm(dim=-1)
    half = torch.finfo(model.network.dtype).bits < 32  # in which experts are as good as each other, now and then
    apart = float(each.median() if half else each.max())
    if not apart <= max(AGREES, 16 * torch.finfo(model.network.dtype).eps):
        what = f"{name}: with fewer experts it is another model than without those that fall"
        raise SecateurError(f"{what} (outputs differ by {apart:.2g}): use --pattern unstructured")


def _said(model: Model) -> torch.Tensor:
    with torch.no_grad(), plainly(model.network):
        logits: torch.Tensor = model.network(plain_tokens(model.network).to(model.device), use_cache=False).logits
    return logits.float()


@contextmanager
def masked(
    network: Any, mixtures: tuple[Mixture, ...], kept: Mapping[str, torch.Tensor], difference: Counted
) -> Iterator[None]:
    """While open, no router of the dense network chooses experts that are not kept."""
    falling = list(_falling(network, mixtures, kept, difference))
    maps = _maps(falling)
    changed = []
    for tensor, falls in falling:
        if id(tensor) not in maps and tensor.is_floating_point():
            changed.append((tensor.data, tensor.data.clone()))
            tensor.data.masked_fill_(falls.view_as(tensor), _lowest(tensor))
    try:
        with _Masks(maps):
            yield
    finally:
        for tensor, before in changed:
            tensor.copy_(before)


Falling = tuple[torch.Tensor, torch.Tensor]
"""What chooses among experts, and which places along it are of those that fall."""


def _falling(
    network: Any, mixtures: tuple[Mixture, ...], kept: Mapping[str, torch.Tensor] | None, difference: Counted
) -> Iterator[Falling]:
    """Of every router; nothing falls any more where the network is the smaller one, which keeps None."""
    for of in mixtures:
        for name in of.routing:
            path, _, leaf = name.rpartition(".")
            tensor = getattr(network.get_submodule(path), leaf)
            falls = torch.zeros(tensor.shape[of.tensors[name]], dtype=torch.bool, device=tensor.device)
            if kept is not None:
                falls[:] = True
                falls[difference.indices(name, kept[of.experts].to(tensor.device))] = False
            yield tensor, falls


def _maps(falling: Iterable[Falling]) -> dict[int, Falling]:
    """Those that are matrices."""
    return {id(tensor): (tensor, falls) for tensor, falls in falling if tensor.numel() > len(falls)}


class _Masks(TorchFunctionMode):
    """Fills what products with some matrices put out for the experts that fall; copies of these are followed.

    The products are made in double precision, so that a matrix with fewer rows puts out the same numbers.
    """

    def __init__(self, maps: dict[int, Falling]) -> None:
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
                result = func(*map(_double, args), **{k: _double(v) for k, v in (kwargs or {}).items()}).to(
                    result.dtype
                )
                return result.masked_fill(falls.to(result.device), _lowest(result))
        elif given[0] is not result and result.numel() == tensor.numel() and len(given) == 1:
            self._maps[id(result)] = (result, falls)  # cast, or transposed; kept alive with its number
        return result


def _double(value: Any) -> Any:
    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _lowest(tensor: torch.Tensor) -> float:
    """Low enough to be never chosen, and so that sums and squares of it stay numbers."""
    return -1e4 if tensor.dtype == torch.float16 else -1e9
