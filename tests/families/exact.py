"""Whether blocks that run one at a time are called as whole forward passes call them, and say the same.

Whole passes are looked at through hooks: every tensor that a block is handed or hands on, whatever it is for. The same
hooks then look at the blocks as `tools.model.blocks` runs them, every block twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tests.families.tiny import VOCABULARY, build
from tools.io.errors import SecateurError
from tools.model.architecture import describe
from tools.model.blocks import check_blocks, passes
from tools.model.checkpoint import Model

BOUND = 1e-5
"""Relative (Frobenius) difference."""
WINDOWS, LENGTH = 6, 24
Call = dict[str, torch.Tensor]
"""Where a tensor stands in what a block is called with and what it returns -> the tensor."""


@dataclass(frozen=True)
class Apart:
    """The largest difference, and where it is."""

    difference: float
    where: str = ""


def opened(family: str) -> Model:
    """The family's tiny model, in memory."""
    network = build(family)
    return Model(family, Path("nowhere"), network, None, describe(network), family, "float32", "cpu")  # type: ignore[arg-type]  # no text


def different_windows() -> torch.Tensor:
    """(WINDOWS, LENGTH) ids, some of them sorted, one of a single token, so that no two are alike in anything."""
    ids = torch.randint(8, VOCABULARY, (WINDOWS, LENGTH), generator=torch.Generator().manual_seed(1))
    ids[1] = ids[1].sort().values
    ids[2] = 9
    return ids


def worst(model: Model, batches: Sequence[torch.Tensor]) -> Apart:
    """The largest difference between the calls of blocks in whole passes over batches and one block at a time."""
    blocks = list(model.network.get_submodule(model.architecture.blocks))
    whole: list[list[list[Call]]] = []
    with torch.inference_mode():
        for ids in batches:
            with looking(blocks) as calls:
                model.network(ids, use_cache=False)
            whole.append(calls)
        found = Apart(0.0)
        with passes(model, batches) as held:
            for index, block in enumerate(blocks):
                for place in range(len(batches)):
                    with looking([block]) as here:
                        held.run(place)
                        held.run(place)
                    expected = 2 * whole[place][index]  # none of a block that the whole pass leaves out
                    for call, of in zip(here[0], expected, strict=True):
                        other = _furthest(call, of, f"block {index}, batch {place}")
                        found = max(found, other, key=lambda one: one.difference)
                held.go_on()
    return found


@contextmanager
def looking(blocks: Sequence[Any]) -> Iterator[list[list[Call]]]:
    """While open, fills a list for every block with its calls."""
    every: list[list[Call]] = [[] for _ in blocks]
    given: list[Call] = []

    def before(module: Any, args: Any, kwargs: Any) -> None:
        given.append({f"given{path}": t.clone() for path, t in _tensors([*args, kwargs])})

    def after(calls: list[Call]) -> Any:
        def hook(module: Any, args: Any, result: Any) -> None:
            calls.append(given.pop() | {f"returned{path}": t.clone() for path, t in _tensors(result)})

        return hook

    handles = [b.register_forward_pre_hook(before, with_kwargs=True) for b in blocks]
    handles += [b.register_forward_hook(after(calls)) for b, calls in zip(blocks, every, strict=True)]
    try:
        yield every
    finally:
        for handle in handles:
            handle.remove()


def _tensors(value: Any, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield path, torch.view_as_real(value) if value.is_complex() else value
    elif isinstance(value, Mapping):
        for key, inside in value.items():
            yield from _tensors(inside, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for place, inside in enumerate(value):
            yield from _tensors(inside, f"{path}.{place}")


def _furthest(found: Call, expected: Call, where: str) -> Apart:
    """The largest difference of two calls; a block that ran before may have left more with what it is handed."""
    lost = next((name for name in expected if name not in found), None)
    if lost is not None:
        return Apart(math.inf, f"{where}, {lost} is not there")
    every = [Apart(_difference(found[name], t), f"{where}, {name}") for name, t in expected.items()]
    return max(every, key=lambda one: one.difference)


def _difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative (Frobenius) difference; infinities, as masks hold them, are equal or infinitely different."""
    if found.shape != expected.shape:
        return math.inf
    a, b = found.double(), expected.double()
    same = (a == b) | (a.isnan() & b.isnan())
    apart = float((a - b).masked_fill(same, 0).norm() / b.masked_fill(~b.isfinite(), 0).norm().clamp_min(1e-30))
    return math.inf if math.isnan(apart) else apart


def said(family: str) -> dict[str, Any]:
    """For the benchmark: the worst difference over six windows, alone and in two batches, or why there is none."""
    try:
        model = opened(family)
    except Exception as error:  # transformers' own, or a model that is refused
        return {"family": family, "why": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    ids = different_windows()
    try:
        check_blocks(model, ids)
        found = max((worst(model, ids.split(size)) for size in (1, 4)), key=lambda one: one.difference)
    except SecateurError as error:
        return {"family": family, "refused": str(error)}
    return {"family": family, "difference": found.difference, "where": found.where}
