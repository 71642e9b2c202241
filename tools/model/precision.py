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
        self._by_size = [kind for kind, _ in sizes.most_common()]

    def of(self, name: str, values: torch.Tensor | None = None) -> torch.dtype:
        """Of a parameter: as it is stored in every block, as blocks of a smaller model have other numbers.

        One that is stored under another name has the precision of those whose names end like its own, or of most
        weights.

        Args:
            values: what it had in the checkpoint and has kept, which its precision then has to hold to the bit.
        """
        kinds = self._kinds.get(_any_block(name))
        if kinds is not None:
            return _one(kinds)
        alike = self._alike(_any_block(name))
        if values is None:
            return _one(alike or self._main)
        likely = [_one(alike)] if alike else []
        halves = [HALVES[kind] for kind in self._by_size if kind in HALVES]
        return next((dtype for dtype in [*likely, *halves] if _holds(dtype, values)), torch.float32)

    def _alike(self, name: str) -> set[str]:
        """Of the names that end most like this one, those with most other parts in common: `language_model.model.` for
        `model.language_model.`. None where they do not agree, or have not even the module's name in common."""
        near = {other: _nearness(name, other) for other in self._kinds}
        nearest = max(near.values(), default=(0, 0))
        found = {kind for other, kinds in self._kinds.items() if near[other] == nearest for kind in kinds}
        return found if len(found) == 1 and nearest[0] > 1 else set()


def _one(kinds: set[str]) -> torch.dtype:
    return HALVES.get(next(iter(kinds)), torch.float32) if len(kinds) == 1 else torch.float32


def _holds(dtype: torch.dtype, values: torch.Tensor) -> bool:
    return torch.equal(values, values.to(dtype).to(values.dtype))


def _any_block(name: str) -> str:
    return re.sub(r"\.\d+\.", ".*.", name)


def _nearness(name: str, other: str) -> tuple[int, int]:
    """Of two names how many parts at the end are the same, and how many anywhere."""
    mine, theirs = name.split("."), other.split(".")
    pairs = enumerate(zip(reversed(mine), reversed(theirs), strict=False))
    end = next((place for place, (a, b) in pairs if a != b), min(len(mine), len(theirs)))
    return end, len({*mine} & {*theirs})


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
    """The same, whatever the values are that pruning changes.

    What pruning leaves alone, towers of other senses for example, is delivered to the bit, also where the checkpoint
    has other names for it.
    """
    parameters = dict(model.network.named_parameters())
    found = {name: parameter.dtype for name, parameter in parameters.items()}
    if torch.float32 not in found.values():
        return found
    stored, projections = precision_of(model.folder), model.architecture.projections
    pruned = {name for p in projections for name in (p.parameter, f"{p.name}.bias")}
    for name, parameter in parameters.items():
        if parameter.dtype == torch.float32:
            kept = name not in pruned and not parameter.is_meta
            found[name] = stored.of(name, parameter.detach() if kept else None)
    return found


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
    saved = " and ".join(str(kind).removeprefix("torch.") for kind, _ in kinds.most_common())
    return (
        f"\nIts weights are saved in {saved}, like those of the checkpoint it was made of. The figures of its final "
        f"form are of exactly these weights, computed in {model.dtype}.\n"
    )


def stored_bytes(model: Model) -> int:
    """Of the weights of a result as it is saved, unless its values keep it in float32."""
    dtypes = _wanted(model)
    return sum(parameter.numel() * dtypes[name].itemsize for name, parameter in model.network.named_parameters())
