"""Experts whose matrices are slices of one parameter: which slices, in which order of dimensions, gate and up how.

All of it is learnt from one forward pass (`products`): where every matrix begins, whether it is stored as (out, in) or
(in, out), which ones read the same tokens, and whether what the first one puts out is halved or taken in turns (gpt-oss
interleaves gate and up). No expert has to be reached by that pass: those of one parameter are all alike.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from tools.model.architecture.discovery import is_linear, role_of
from tools.model.architecture.products import Product, Watch

Split = Literal["", "halves", "turns"]
"""How gate and up share the rows of a matrix; empty where it is one of them alone, or neither."""


@dataclass(frozen=True)
class Part:
    """Where one matrix (out, in) lies inside a parameter that holds those of several experts."""

    parameter: str
    """Path."""
    expert: int
    offset: int
    """Elements from the parameter's beginning."""
    strides: tuple[int, int]
    bias: str = ""
    """Path of the parameter (experts, out) that holds its bias; empty where there is none."""

    def of(self, network: Any, shape: tuple[int, int]) -> torch.Tensor:
        """The matrix: a view, so writing into it changes the parameter."""
        held = network.get_parameter(self.parameter).data
        return self.inside(held, shape)

    def inside(self, held: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
        """The matrix inside a tensor of the parameter's shape, for example its gradient."""
        return held.as_strided(shape, self.strides, held.storage_offset() + self.offset)


@dataclass(frozen=True)
class Stack:
    """What one parameter of a mixture holds: as many matrices (out, in) as there are experts."""

    parameter: str
    shape: tuple[int, int]
    strides: tuple[int, int]
    count: int
    split: Split = ""
    reads: Hashable = None
    """Equal for stacks of which every expert reads the same tokens."""
    bias: str = ""

    def slices(self, expert: int) -> Iterator[tuple[str, str, tuple[int, int], Part]]:
        """Name, role, shape and place of each matrix of one expert."""
        (out, into), (row, column) = self.shape, self.strides
        begin = expert * out * into
        owner, _, leaf = self.parameter.rpartition(".")
        if self.split:
            apart = row * (out // 2) if self.split == "halves" else row
            strides = (row, column) if self.split == "halves" else (2 * row, column)
            for place, role in enumerate(("gate", "up")):
                part = Part(self.parameter, expert, begin + place * apart, strides)
                yield f"{owner}.{expert}.{role}", role, (out // 2, into), part
            return
        role = role_of(owner if leaf == "weight" else self.parameter)[0]
        last = "" if leaf == "weight" else f".{leaf if role == 'linear' else role}"
        yield f"{owner}.{expert}{last}", role, self.shape, Part(self.parameter, expert, begin, self.strides, self.bias)


def candidates(network: Any, path: str) -> dict[str, torch.nn.Parameter]:
    """Parameters of the blocks at `path` that may hold the matrices of experts, by their path."""
    found = {}
    for name, module in network.get_submodule(path).named_modules(prefix=path):
        if is_linear(module) or isinstance(module, torch.nn.modules.conv._ConvNd) or not _of_experts(name, module):
            continue
        for leaf, parameter in module.named_parameters(recurse=False):
            if parameter.dim() in (2, 3) and parameter.is_floating_point() and parameter.is_contiguous():
                found[f"{name}.{leaf}"] = parameter
    return found


def _of_experts(name: str, module: Any) -> bool:
    """Whether a module belongs to the experts of a mixture, by what it or a module around it is called."""
    parts = [*name.split("."), type(module).__name__.lower()]
    return any("expert" in part and not any(word in part for word in ("shared", "gate", "router")) for part in parts)


class StackTrace(Watch):
    """Watches one forward pass for `stacks`."""

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        super().__init__(parameters, self._note)
        self._seen: dict[str, dict[int, Product]] = {}
        self._splits: dict[str, Split] = {}
        self._odd: set[str] = set()
        """Parameters that are read in some other way than as matrices one after another."""
        self._last = ""
        self._out: torch.Tensor | None = None
        """What the last product put out, with its bias."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """As torch has it."""
        before, self._last = self._last, ""
        result = super().__torch_function__(func, types, args, kwargs)
        if self._last:
            self._out = result
        else:
            self._last = before
            self._follow(args, result)
        return result

    def _follow(self, args: Any, result: Any) -> None:
        if self._out is None:
            return
        for t in result if isinstance(result, tuple | list) else (result,):
            if not isinstance(t, torch.Tensor) or not t.dim():
                continue
            inside = t.untyped_storage().data_ptr() == self._out.untyped_storage().data_ptr()
            if inside and 2 * t.shape[-1] == self._out.shape[-1]:
                turns = t.stride(-1) == 2 * self._out.stride(-1)
                self._splits.setdefault(self._last, "turns" if turns else "halves")
            elif not inside and t.shape == self._out.shape and any(a is self._out for a in args):
                self._out = t  # the bias was added

    def _note(self, product: Product) -> None:
        self._last = name = product.parameter
        out, into = product.shape
        dense = product.strides in ((into, 1), (1, out)) and not product.offset % (out * into)
        seen = self._seen.setdefault(name, {})
        alike = all((p.shape, p.strides) == (product.shape, product.strides) for p in list(seen.values())[:1])
        if dense and alike and not self._parameters[name].numel() % (out * into):
            seen.setdefault(product.offset // (out * into), product)
        else:
            self._odd.add(name)

    def stacks(self) -> list[Stack]:
        """What the parameters hold, of those that were read as matrices."""
        found = []
        for name, seen in self._seen.items():
            if name not in self._odd:
                first = next(iter(seen.values()))
                count = self._parameters[name].numel() // (first.shape[0] * first.shape[1])
                reads = frozenset((e, _place(p.x)) for e, p in seen.items())
                split, bias = self._splits.get(name, ""), self._bias(name, count, first.shape[0])
                found.append(Stack(name, first.shape, first.strides, count, split, reads, bias))
        return found

    def _bias(self, name: str, count: int, out: int) -> str:
        bias = f"{name}_bias"
        return bias if bias in self._parameters and self._parameters[bias].shape == (count, out) else ""


def _place(x: torch.Tensor) -> Hashable:
    return x.data_ptr(), x.shape, x.stride(), x._version


_LAST = ("down", "out", "w2", "fc2")
"""In names of what hands an expert's result back to the model's width."""


def stacks_by_shape(network: Any, parameters: Mapping[str, torch.nn.Parameter]) -> list[Stack]:
    """What parameters hold, of a network without values: by names and shapes alone, for counts."""
    hidden = network.config.get_text_config().hidden_size
    found = []
    for name, parameter in parameters.items():
        if parameter.dim() != 3:
            continue
        count, a, b = parameter.shape
        owner = network.get_submodule(name.rpartition(".")[0])
        last = any(word in name.rpartition("experts")[2] for word in _LAST)
        turned = getattr(owner, "is_transposed", (b == hidden != a) if last else (a == hidden != b))
        shape, strides = ((b, a), (1, b)) if turned else ((a, b), (b, 1))
        split: Split = "halves" if "gate_up" in name and getattr(owner, "has_gate", True) else ""
        found.append(Stack(name, shape, strides, count, split, name))
    return found
