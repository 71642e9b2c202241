"""What is known about the dense model: collected in one pass, kept on disk, used by every candidate.

Of every projection what it reads (`inputs`); per block redundancy, 1 - cos(input, output) (ShortGPT); on request
gradients per weight (`gradients`) and how experts are used (`routing`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tools.io.errors import SecateurError
from tools.io.shelf import Shelf, key_of
from tools.model.architecture import Architecture
from tools.model.blocks import output_of, trunk_of
from tools.model.checkpoint import Model
from tools.statistics.gradients import gradients, of_layers, regional_gradients
from tools.statistics.inputs import FEWEST, InputStatistics, batches, recording, settled, shared_inputs
from tools.statistics.routing import routed
from tools.text.windows import Windows

_VERSION = 4


@dataclass
class Statistics:
    """Statistics of a dense model on one calibration text."""

    inputs: dict[str, InputStatistics]
    """By the name of every projection; those that share an input share the object."""
    redundancy: list[float]
    """Per block, 1 - mean cosine between what enters and what leaves it."""
    gradient: dict[str, torch.Tensor] = field(default_factory=dict)
    regional: dict[str, torch.Tensor] = field(default_factory=dict)
    routing: dict[str, torch.Tensor] = field(default_factory=dict)
    """How experts are used, by mixture: see `tools.statistics.routing.routed`."""
    text: str = ""
    reused: bool = False
    """Whether it was read from disk."""

    @property
    def tokens(self) -> int:
        """Tokens of the calibration text."""
        held = list(self.inputs.values())
        return next((s for s in held if not s.routed), held[0]).tokens

    @property
    def sparse(self) -> tuple[str, ...]:
        """Projections of experts that saw too few tokens and are judged by their layer's."""
        return tuple(name for name, s in self.inputs.items() if s.pooled)

    def about_experts(self, architecture: Architecture) -> str:
        """How many experts are judged by their layer's statistics; empty where none is."""
        pooled = {*self.sparse}
        of_experts = [p for p in architecture.projections if p.expert is not None]
        every = {(p.block, p.sublayer, p.expert) for p in of_experts}
        few = {(p.block, p.sublayer, p.expert) for p in of_experts if p.name in pooled}
        if not few:
            return ""
        return (
            f"{len(few):,} of {len(every):,} experts saw fewer than {FEWEST} tokens of the calibration text: they are "
            "judged by what all experts of their layer saw. More windows help."
        )


def shelf_of(cache: Path | None, model: Model, windows: Windows) -> Shelf:
    """What is known of a model on a text, under the fingerprints of both."""
    key = [_VERSION, model.fingerprint, model.dtype, windows.sha256, list(windows.ids.shape)]
    if any(p.expert is not None for p in model.architecture.projections):
        key.append("experts")
    return Shelf.under(cache, "statistics", key_of(key))


def collect(
    model: Model, windows: Windows, *, needs: frozenset[str] = frozenset(), cache: Path | None = None
) -> Statistics:
    """One forward pass over the calibration windows (and one backward pass per window for the gradients).

    Args:
        needs: any of `gram`, `gradient`, `regional`, `routing`.
        cache: folder where statistics are kept under the fingerprint of model and text; None keeps nothing.
    """
    shelf = shelf_of(cache, model, windows)
    gram = "gram" in needs or shelf.holds_tensors("gram")
    architecture = model.architecture
    tensors = shelf.tensors(
        "gram" if gram else "inputs",
        lambda: _to_tensors(_forward(model, windows, gram), architecture),
        model.device,
    )
    statistics = _from_tensors(tensors, architecture, windows.sha256)
    _add(statistics, shelf, model, windows, needs)
    statistics.reused = not shelf.computed
    return statistics


def add(
    statistics: Statistics, model: Model, windows: Windows, needs: frozenset[str], cache: Path | None = None
) -> None:
    """Add to statistics of the dense `model` what is needed of `gradient`, `regional`, `routing`."""
    _add(statistics, shelf_of(cache, model, windows), model, windows, needs)


def _add(statistics: Statistics, shelf: Shelf, model: Model, windows: Windows, needs: frozenset[str]) -> None:
    if "gradient" in needs:
        found = shelf.tensors("gradient", lambda: gradients(model, windows), model.device)
        statistics.gradient = of_layers(found, statistics.sparse, model.architecture)
    if "regional" in needs:
        found = shelf.tensors("regional", lambda: regional_gradients(model, windows), model.device)
        statistics.regional = of_layers(found, statistics.sparse, model.architecture)
    if "routing" in needs:
        statistics.routing = shelf.tensors("routing", lambda: routed(model, batches(windows)), model.device)


def _forward(model: Model, windows: Windows, gram: bool) -> Statistics:
    blocks = list(model.network.get_submodule(model.architecture.blocks))
    cosines = torch.zeros(len(blocks), dtype=torch.float64)
    counts = torch.zeros(len(blocks), dtype=torch.float64)  # a network may go through a block more than once

    def compare(index: int) -> Callable[..., None]:
        def hook(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
            before = (args[0] if args else kwargs["hidden_states"]).float()
            after = output_of(result).float().view_as(before)
            lengths = torch.linalg.vector_norm(before, dim=-1) * torch.linalg.vector_norm(after, dim=-1)
            cosine = torch.linalg.vecdot(before, after) / lengths.clamp_min(1e-8)
            cosines[index] += cosine.sum().double().cpu()
            counts[index] += cosine.numel()

        return hook

    handles = [block.register_forward_hook(compare(i), with_kwargs=True) for i, block in enumerate(blocks)]
    try:
        shared, trunk = shared_inputs(model.architecture), trunk_of(model.network, model.architecture.blocks)
        with recording(model, shared, windows.ids.shape[1], gram) as inputs, torch.inference_mode():
            for ids in batches(windows):
                trunk(ids.to(model.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    for name, found in inputs.items():
        if not found.routed and (not found.tokens or found.tokens % windows.tokens):
            raise SecateurError(f"{found.tokens:,} of {windows.tokens:,} tokens come to {name}: it cannot be pruned")
    redundancy = (1 - cosines / counts.clamp_min(1)).tolist()  # of a block that text leaves out nothing is known
    return Statistics(inputs, redundancy, text=windows.sha256)


_SUMS = ("total", "absolute", "largest", "scaler")


def _to_tensors(statistics: Statistics, architecture: Architecture) -> dict[str, torch.Tensor]:
    tensors = {"redundancy": torch.tensor(statistics.redundancy, dtype=torch.float64)}
    for first in shared_inputs(architecture):
        s = statistics.inputs[first]
        tensors |= {f"{first}|{k}": getattr(s, k) for k in _SUMS}
        tensors[f"{first}|counts"] = torch.tensor([s.tokens, s.length])
        if s.gram is not None:
            tensors[f"{first}|gram"] = s.gram
    return tensors


def _from_tensors(tensors: dict[str, torch.Tensor], architecture: Architecture, text: str) -> Statistics:
    inputs: dict[str, InputStatistics] = {}
    routed = {p.name for p in architecture.projections if p.expert is not None}
    for first, members in shared_inputs(architecture).items():
        tokens, length = tensors[f"{first}|counts"].tolist()
        total, absolute, largest, scaler = (tensors[f"{first}|{k}"] for k in _SUMS)
        s = InputStatistics(total, absolute, largest, scaler, length, tokens, tensors.get(f"{first}|gram"))
        s.routed = first in routed
        inputs |= dict.fromkeys(members, s)
    return Statistics(settled(inputs, architecture), tensors["redundancy"].tolist(), text=text)
