"""In which precision a result is saved: that of its checkpoint, whatever it was computed in.

On a CPU a half-precision checkpoint is computed with in float32. Saved in that, a model with 30 % fewer weights would
be larger on disk than before. So what pruning made of the weights is rounded to the checkpoint's precision, in memory,
before it is measured for the final table: figures, sparsity and logits are of the weights that are delivered. Half
precision that was asked for by name, or that the checkpoint has, is saved as it is computed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tools.model.hub import weight_files

if TYPE_CHECKING:
    from tools.model.checkpoint import Model

HALVES = {"F16": torch.float16, "BF16": torch.bfloat16}
"""As safetensors calls them."""


class Precision:
    """The precision of every tensor of a checkpoint, as it is stored."""

    def __init__(self, stored: Mapping[str, tuple[str, int]]) -> None:
        """Args: stored: tensor's name -> type as safetensors calls it, and number of values."""
        sizes: Counter[str] = Counter()
        self._kinds: dict[str, set[str]] = {}
        for name, (kind, size) in stored.items():
            sizes[kind] += size
            self._kinds.setdefault(_any_block(name), set()).add(kind)
        self._main = {max(sizes, key=lambda kind: sizes[kind], default="")}

    def of(self, name: str) -> torch.dtype:
        """Of a parameter: as it is stored in every block, as blocks of a smaller model have other numbers; of most
        weights where none is stored under that name."""
        kinds = self._kinds.get(_any_block(name), self._main)
        return HALVES.get(next(iter(kinds)), torch.float32) if len(kinds) == 1 else torch.float32


def _any_block(name: str) -> str:
    return re.sub(r"\.\d+\.", ".*.", name)


def precision_of(folder: Path) -> Precision:
    """Of the weights in a folder, from their headers."""
    from safetensors import safe_open

    found = {}
    for file in weight_files(folder):
        with safe_open(file, framework="np") as opened:
            for name in opened.keys():  # noqa: SIM118  # not a dictionary
                part = opened.get_slice(name)
                found[name] = (str(part.get_dtype()), torch.Size(part.get_shape()).numel())
    return Precision(found)


def delivered(model: Model) -> dict[str, torch.dtype]:
    """Parameter's name -> the precision it is saved in.

    All are saved as they are in memory where one of them holds values that the checkpoint's precision cannot, which
    float16 ends at 65504.
    """
    parameters, found = dict(model.network.named_parameters()), _wanted(model)
    if all(_fits(parameters[name], dtype) for name, dtype in found.items()):
        return found
    return {name: parameter.dtype for name, parameter in parameters.items()}


def _wanted(model: Model) -> dict[str, torch.dtype]:
    """The same, whatever the values are."""
    asis = {name: parameter.dtype for name, parameter in model.network.named_parameters()}
    if torch.float32 not in asis.values():
        return asis
    stored = precision_of(model.folder)
    return {name: stored.of(name) if dtype == torch.float32 else dtype for name, dtype in asis.items()}


def _fits(parameter: torch.Tensor, dtype: torch.dtype) -> bool:
    if dtype == parameter.dtype or not parameter.numel():
        return True
    low, high = parameter.detach().aminmax()
    return bool(torch.stack((low, high)).to(dtype).isfinite().all())


def round_to_delivered(model: Model) -> None:
    """Give the parameters the values they are saved with; their precision in memory stays. Zeros stay zeros."""
    dtypes = delivered(model)
    with torch.inference_mode():
        for name, parameter in model.network.named_parameters():
            if parameter.dtype != dtypes[name]:
                parameter.data.copy_(parameter.data.to(dtypes[name]))


@contextmanager
def as_delivered(model: Model) -> Iterator[torch.dtype]:
    """While open, the parameters are held in the precision they are saved in; yields that of most of them.

    Afterwards they are what they were, rounded (see `round_to_delivered`).
    """
    dtypes, sizes = delivered(model), Counter[torch.dtype]()
    parameters = dict(model.network.named_parameters())
    before = {name: parameter.dtype for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        parameter.data = parameter.data.to(dtypes[name])
        sizes[dtypes[name]] += parameter.numel()
    try:
        yield max(sizes, key=lambda dtype: sizes[dtype])
    finally:
        for name, parameter in parameters.items():
            parameter.data = parameter.data.to(before[name])


def note_of(model: Model) -> str:
    """For the model card: in which precision its weights are saved, where they were computed with in another."""
    kinds = Counter(delivered(model).values())
    if kinds.keys() <= {model.network.dtype}:
        return ""
    saved = str(kinds.most_common(1)[0][0]).removeprefix("torch.")
    return (
        f"\nIts weights are saved in {saved}, like those of the checkpoint it was made of. The figures of its final "
        f"form are of exactly these weights, computed in {model.dtype}.\n"
    )


def stored_bytes(model: Model) -> int:
    """Of the weights of a result as it is saved, unless its values keep it in float32."""
    dtypes = _wanted(model)
    return sum(parameter.numel() * dtypes[name].itemsize for name, parameter in model.network.named_parameters())
