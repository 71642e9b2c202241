"""Products with matrices that belong to no module of their own: seen while a network runs, whoever multiplies.

Experts of a mixture are slices of one parameter, and a family's own forward pass multiplies with them in the middle of
its code. So nothing of that code is written here again: every product is watched, and where one factor lies inside a
watched parameter, it is told which matrix it was and what it was multiplied with.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_APPLIED = ("linear",)
"""Products x Wᵀ, with W (out, in) second."""
_PLAIN = ("matmul", "__matmul__", "mm", "bmm")
"""Products of two factors as they stand; the matrix is either."""


@dataclass(frozen=True)
class Product:
    """One matrix of a watched parameter, times what reads it."""

    parameter: str
    offset: int
    """Elements from the parameter's beginning to the matrix's."""
    shape: tuple[int, int]
    """(out, in)"""
    strides: tuple[int, int]
    x: torch.Tensor
    """(..., in)"""
    padded: bool
    """Every matrix had as many rows to read: those that are zero were not routed to it."""


Met = Callable[[Product], None]


class Watch(TorchFunctionMode):
    """While open, calls `met` for every product with a matrix of one of the parameters."""

    def __init__(self, parameters: Mapping[str, torch.Tensor], met: Met) -> None:
        super().__init__()
        self._met = met
        there = sorted((p.data_ptr(), p.data_ptr() + p.nbytes, name) for name, p in parameters.items())
        self._starts, self._places = [start for start, _, _ in there], there
        self._parameters = parameters

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """As torch has it."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _APPLIED or name in _PLAIN:
            x, w = _factors(args, kwargs)
            if min(x.dim(), w.dim()) > 1:
                for product in self._products(x, w if name in _PLAIN else w.mT):
                    self._met(product)
        return func(*args, **kwargs)

    def _products(self, left: Any, right: Any) -> Iterator[Product]:
        """Of two factors as they stand: left (..., n, in) times right (..., in, out), where one of them is watched."""
        if (name := self._owner(right)) is not None:
            yield from self._each(name, left, right.mT)
        elif (name := self._owner(left)) is not None:
            yield from self._each(name, right.mT, left)

    def _each(self, name: str, x: torch.Tensor, w: torch.Tensor) -> Iterator[Product]:
        """Every matrix of w (out, in) or (e, out, in), with its rows of x."""
        parameter = self._parameters[name]
        padded = w.dim() == 3
        matrices, rows = (w, x.expand(len(w), *x.shape[-2:])) if padded else (w[None], x[None])
        for each, read in zip(matrices, rows, strict=True):
            offset = (each.data_ptr() - parameter.data_ptr()) // parameter.element_size()
            yield Product(name, offset, tuple(each.shape), tuple(each.stride()), read, padded)

    def _owner(self, factor: torch.Tensor) -> str | None:
        """The watched parameter that a factor is a matrix, or are matrices, of."""
        if factor.dim() not in (2, 3) or factor.device.type == "meta":
            return None
        place = factor.data_ptr()
        found = bisect_right(self._starts, place) - 1
        if found < 0 or place >= self._places[found][1]:
            return None
        return self._places[found][2]


def _factors(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """The two factors of a product, however they are handed over."""
    first, second, *_ = (*args, *(v for k, v in kwargs.items() if k not in ("bias", "out")))
    return first, second


@contextmanager
def watched(network: Any, parameters: Mapping[str, torch.Tensor], met: Met) -> Iterator[None]:
    """While open, `met` is called for every product of a forward pass with a matrix of the parameters.

    Mixtures go through their experts one by one meanwhile, as their family wrote it down, not by grouped kernels that
    do not say what goes where.
    """
    if not parameters:
        yield
        return
    with plainly(network), Watch(parameters, met):
        yield


@contextmanager
def plainly(network: Any) -> Iterator[None]:
    """While open, mixtures run the code of their family."""
    key = "_experts_implementation_internal"
    configs = {id(c): c for m in network.modules() if (c := getattr(m, "config", None)) is not None}
    before = [(c, getattr(c, key)) for c in configs.values() if hasattr(c, key)]
    try:
        for config, _ in before:
            setattr(config, key, "eager")
        yield
    finally:
        for config, value in before:
            setattr(config, key, value)
