"""Statistics of what a projection reads: sums over the tokens of a text, taken while the model runs.

Per input of a linear (shared by q, k, v and by gate, up: accumulated once): sums of x, |x| and x^2, the largest |x|,
the number of tokens and windows, and on request the Gram matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from tools.model.architecture import Architecture
from tools.model.checkpoint import Model
from tools.statistics.hessian import obs_factor
from tools.text.windows import Windows

BATCH_TOKENS = 2048
"""Tokens of one forward pass; more costs memory and gains no speed on a CPU."""


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
        """Of an input of `width` channels, before any token was seen."""

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
        """How many were seen."""
        return self.tokens // self.length

    @property
    def norm(self) -> torch.Tensor:
        """(in,) float32: sqrt(sum x^2 / windows), the square root of Wanda's `scaler_row`."""
        return self.scaler.sqrt()

    @property
    def mean(self) -> torch.Tensor:
        """(in,) float32: of x over all tokens."""
        return (self.total / self.tokens).float()

    @property
    def variance(self) -> torch.Tensor:
        """(in,) float32: of x over all tokens."""
        return (self.scaler.double() / self.length - (self.total / self.tokens) ** 2).clamp_min(0).float()

    def factor(self, damping: float = 0.01) -> torch.Tensor:
        """U (in, in) of `obs_factor`, computed once: every candidate with OBS needs it. Needs the Gram matrix."""
        if damping not in self._factors:
            assert self.gram is not None, "statistics were collected without Gram matrices"
            self._factors[damping] = obs_factor(self.gram, self.tokens, damping)
        return self._factors[damping]

    def inverse_diagonal(self, damping: float = 0.01) -> torch.Tensor:
        """(in,) diagonal of the damped inverse Hessian; needs the Gram matrix."""
        return self.factor(damping).square().sum(0)


def batches(windows: Windows) -> list[torch.Tensor]:
    """The windows in batches (b, length) of about BATCH_TOKENS tokens."""
    return list(windows.ids.split(max(1, BATCH_TOKENS // windows.ids.shape[1])))


def shared_inputs(architecture: Architecture) -> dict[str, tuple[str, ...]]:
    """First of the projections that read one tensor -> all of them."""
    return {names[0]: names for names in architecture.readers}


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
