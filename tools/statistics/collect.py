"""What is known about the dense model: collected in one pass, kept on disk, used by every candidate.

Per input of a linear (shared by q, k, v and by gate, up: accumulated once): sums of x, |x| and x^2, the largest |x|,
the number of tokens and windows, and on request the Gram matrix. Per block: redundancy, 1 - cos(input, output)
(ShortGPT). On request, per weight: G = 100 sqrt(sum_n g_n^2), g_n the gradient of the loss on window n
(VILA-Lab/GBLM-Pruner, pprp/Pruner-Zero lib/gradient_computation.py), and Wanda++'s regional gradient R, the root mean
square over windows of the gradient of the l2 norm of the block's output (TTTTTTris/wandaplus).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tools.io.errors import SecateurError
from tools.io.shelf import Kept
from tools.model.architecture import Architecture, Projection
from tools.model.blocks import check_blocks, output_of, passes, trunk_of
from tools.model.checkpoint import Model
from tools.statistics.routing import routed
from tools.text.windows import Windows

BATCH_TOKENS = 2048
"""Tokens of one forward pass; more costs memory and gains no speed on a CPU."""
NEEDS = frozenset({"gram", "gradient", "regional"})
"""The optional statistics that every model has; one with experts has `routing` too."""
_VERSION = 4


@dataclass
class InputStatistics:
    """Sums over all tokens of one linear's input, each (in_features,) float64; `gram` is (in, in) float32, X^T X."""

    total: torch.Tensor
    absolute: torch.Tensor
    largest: torch.Tensor
    scaler: torch.Tensor
    """Wanda's `scaler_row` (in_features,) float32: the running mean over windows of ||x||^2, in its authors' order of
    operations, so that masks equal theirs to the last weight."""
    length: int
    """Tokens of a window; some blocks hand their tokens on without telling the windows apart."""
    tokens: int = 0
    gram: torch.Tensor | None = None
    missing: torch.Tensor | None = None
    """(in, width) float32, X^T E: E is what the model lacks beside the dense one after the linear's layer."""
    _factors: dict[float, torch.Tensor] = field(default_factory=dict, repr=False)

    @classmethod
    def empty(cls, width: int, length: int, device: torch.device | str, gram: bool) -> InputStatistics:
        def zeros(dtype: torch.dtype = torch.float64) -> torch.Tensor:
            return torch.zeros(width, dtype=dtype, device=device)

        matrix = torch.zeros(width, width, device=device) if gram else None
        return cls(zeros(), zeros(), zeros(), zeros(torch.float32), length, gram=matrix)

    def add(self, x: torch.Tensor) -> None:
        """Account for a batch of inputs (..., in_features)."""
        flat = x.detach().reshape(-1, x.shape[-1]).float()
        self.total += flat.sum(0)
        # Not vector_norm, whose one and infinity norms down the columns take several times as long.
        size = flat.abs()
        self.absolute += size.sum(0)
        self.largest = torch.maximum(self.largest, size.amax(0).double())
        if self.gram is not None:
            self.gram.addmm_(flat.T, flat)
        for norm in torch.linalg.vector_norm(flat.view(-1, self.length, flat.shape[1]), dim=1):
            seen = self.windows
            self.tokens += self.length
            self.scaler *= seen / (seen + 1)
            self.scaler += norm**2 / (seen + 1)

    def miss(self, x: torch.Tensor, lacks: torch.Tensor) -> None:
        """Account for what a batch of inputs (..., in_features) leaves to be made up for (..., width)."""
        flat = x.detach().reshape(-1, x.shape[-1]).float()
        lacks = lacks.reshape(len(flat), -1).float()
        if self.missing is None:
            self.missing = torch.zeros(flat.shape[1], lacks.shape[1], device=flat.device)
        self.missing.addmm_(flat.T, lacks)

    @property
    def windows(self) -> int:
        return self.tokens // self.length

    @property
    def norm(self) -> torch.Tensor:
        """(in,) float32: sqrt(sum x^2 / windows), the square root of Wanda's `scaler_row`."""
        return self.scaler.sqrt()

    @property
    def mean(self) -> torch.Tensor:
        return (self.total / self.tokens).float()

    @property
    def variance(self) -> torch.Tensor:
        return (self.scaler.double() / self.length - (self.total / self.tokens) ** 2).clamp_min(0).float()

    def factor(self, damping: float = 0.01) -> torch.Tensor:
        """U (in, in) of `obs_factor`, computed once: every candidate with OBS needs it. Needs the Gram matrix."""
        from tools.statistics.hessian import obs_factor

        if damping not in self._factors:
            assert self.gram is not None, "statistics were collected without Gram matrices"
            self._factors[damping] = obs_factor(self.gram, self.tokens, damping)
        return self._factors[damping]

    def inverse_diagonal(self, damping: float = 0.01) -> torch.Tensor:
        """(in,) diagonal of the damped inverse Hessian; needs the Gram matrix."""
        return self.factor(damping).square().sum(0)


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
    """How experts are used, by mixture: see `structure.experts.routed`."""
    text: str = ""
    reused: bool = False
    """Whether it was read from disk."""

    @property
    def tokens(self) -> int:
        return next(iter(self.inputs.values())).tokens


def shared_inputs(architecture: Architecture) -> dict[str, tuple[str, ...]]:
    """First of the projections that read one tensor -> all of them."""
    return {names[0]: names for names in architecture.readers}


def batches(windows: Windows) -> list[torch.Tensor]:
    """The windows in batches (b, length) of about BATCH_TOKENS tokens."""
    return list(windows.ids.split(max(1, BATCH_TOKENS // windows.ids.shape[1])))


@contextmanager
def recording(
    model: Model, names: dict[str, tuple[str, ...]], length: int, gram: bool
) -> Iterator[dict[str, InputStatistics]]:
    """While open, forward passes over windows of `length` tokens add to what is yielded, the projections' inputs."""
    found: dict[str, InputStatistics] = {}
    handles = []

    def hook(statistics: InputStatistics) -> Callable[..., None]:
        return lambda module, args: statistics.add(args[0])

    sizes = {p.name: p.in_features for p in model.architecture.projections}
    for first, members in names.items():
        statistics = InputStatistics.empty(sizes[first], length, model.device, gram)
        handles.append(model.network.get_submodule(first).register_forward_pre_hook(hook(statistics)))
        found |= dict.fromkeys(members, statistics)
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def collect(
    model: Model, windows: Windows, *, needs: frozenset[str] = frozenset(), cache: Path | None = None
) -> Statistics:
    """One forward pass over the calibration windows (and one backward pass per window for the gradients).

    Args:
        needs: any of `gram`, `gradient`, `regional`, `routing`.
        cache: folder where statistics are kept under the fingerprint of model and text; None keeps nothing.
    """
    keep = Shelf(cache, model, windows)
    gram = "gram" in needs or keep.holds("gram")
    architecture = model.architecture
    tensors = keep.get("gram" if gram else "inputs", lambda: _to_tensors(_forward(model, windows, gram), architecture))
    statistics = _from_tensors(tensors, architecture, windows.sha256)
    _add(statistics, keep, model, windows, needs)
    statistics.reused = not keep.computed
    return statistics


def add(
    statistics: Statistics, model: Model, windows: Windows, needs: frozenset[str], cache: Path | None = None
) -> None:
    """Add to statistics of the dense `model` what is needed of `gradient`, `regional`, `routing`."""
    _add(statistics, Shelf(cache, model, windows), model, windows, needs)


def _add(statistics: Statistics, keep: Shelf, model: Model, windows: Windows, needs: frozenset[str]) -> None:
    if "gradient" in needs:
        statistics.gradient = keep.get("gradient", lambda: _gradients(model, windows))
    if "regional" in needs:
        statistics.regional = keep.get("regional", lambda: _regional_gradients(model, windows))
    if "routing" in needs:
        statistics.routing = keep.get("routing", lambda: routed(model, batches(windows)))


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
        if not found.tokens or found.tokens % windows.tokens:
            raise SecateurError(f"{found.tokens:,} of {windows.tokens:,} tokens come to {name}: it cannot be pruned")
    redundancy = (1 - cosines / counts).tolist()
    return Statistics(inputs, redundancy, text=windows.sha256)


def _gradients(model: Model, windows: Windows) -> dict[str, torch.Tensor]:
    """G of every projection (out, in) float32: 100 sqrt(sum over windows of g^2)."""
    with _accumulating(model, model.architecture.projections, scale=100) as squares:
        for ids in windows.ids:
            row = ids.unsqueeze(0).to(model.device)
            model.network(row, labels=row, use_cache=False).loss.backward()
    return {name: value.sqrt_() for name, value in squares.items()}


def _regional_gradients(model: Model, windows: Windows) -> dict[str, torch.Tensor]:
    """R of every projection (out, in) float32: sqrt(mean over windows of (d ||block(x)||_2 / dW)^2)."""
    check_blocks(model, windows.ids)
    found: dict[str, torch.Tensor] = {}
    with torch.no_grad(), passes(model, windows.ids.split(1)) as held:
        for block in range(model.architecture.n_blocks):
            with _accumulating(model, model.architecture.of_block(block)) as squares, torch.enable_grad():
                for place in range(len(windows.ids)):
                    torch.linalg.vector_norm(held.run(place).float()).backward()
            found |= {name: value.div_(len(windows.ids)).sqrt_() for name, value in squares.items()}
            held.go_on()  # once more without gradients: what later blocks share of this one belongs to no graph
    return found


@contextmanager
def _accumulating(model: Model, members: Any, scale: float = 1) -> Iterator[dict[str, torch.Tensor]]:
    """While open, every backward pass adds the squares of `scale` times the gradients of `members` and frees them."""
    for parameter in model.network.parameters():
        parameter.requires_grad_(False)
    squares: dict[str, torch.Tensor] = {}
    handles = []

    def hook(projection: Projection, total: torch.Tensor) -> Callable[[torch.Tensor], None]:
        def add(parameter: torch.Tensor) -> None:
            assert parameter.grad is not None
            gradient = parameter.grad.T if projection.transposed else parameter.grad
            # Rounded after every step as the authors' code does, which a fused addcmul would not be.
            total.add_((gradient.float() * scale).square_())
            parameter.grad = None

        return add

    for p in members:
        squares[p.name] = torch.zeros(p.out_features, p.in_features, device=model.device)
        parameter = model.network.get_submodule(p.name).weight
        parameter.requires_grad_(True)
        handles.append(parameter.register_post_accumulate_grad_hook(hook(p, squares[p.name])))
    try:
        yield squares
    finally:
        for handle in handles:
            handle.remove()
        for parameter in model.network.parameters():
            parameter.requires_grad_(False)


def moments(values: torch.Tensor) -> tuple[float, float]:
    """Skewness E[(a - mu)^3] / sigma^3 and kurtosis E[(a - mu)^4] / sigma^4 of all values, in float64 sums."""
    a = values.reshape(-1).float()
    d = a - a.mean()
    square = d * d
    variance = square.mean(dtype=torch.float64)
    if float(variance) == 0.0:
        return 0.0, 0.0
    skew = (square * d).mean(dtype=torch.float64) / variance**1.5
    kurtosis = (square * square).mean(dtype=torch.float64) / variance**2
    return float(skew), float(kurtosis)


class Shelf:
    """Tensors on disk under the fingerprint of model and calibration text; computed once, read afterwards."""

    def __init__(self, cache: Path | None, model: Model, windows: Windows) -> None:
        key = [_VERSION, model.fingerprint, model.dtype, windows.sha256, list(windows.ids.shape)]
        name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:20]
        self._folder = cache / "statistics" / name if cache else None
        self._device = model.device
        self.computed = False

    def holds(self, kind: str) -> bool:
        return self._folder is not None and bool(Kept(self._folder, f"{kind}.safetensors").files)

    def get(self, kind: str, compute: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Read what is kept and whole, or compute and keep it."""
        place = None if self._folder is None else Kept(self._folder, f"{kind}.safetensors")
        found: dict[str, torch.Tensor] | None = None
        if place is not None:
            found = place.read(lambda file: load_file(file, device=self._device))
        if found is not None:
            return found
        tensors = compute()
        self.computed = True
        if place is not None:
            place.keep(lambda file: save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, file))
        return tensors


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
    for first, members in shared_inputs(architecture).items():
        tokens, length = tensors[f"{first}|counts"].tolist()
        total, absolute, largest, scaler = (tensors[f"{first}|{k}"] for k in _SUMS)
        s = InputStatistics(total, absolute, largest, scaler, length, tokens, tensors.get(f"{first}|gram"))
        inputs |= dict.fromkeys(members, s)
    return Statistics(inputs, tensors["redundancy"].tolist(), text=text)
