"""Statistics of what a projection reads: sums over the tokens of a text, taken while the model runs.

Per input of a linear (shared by q, k, v and by gate, up: accumulated once): sums of x, |x| and x^2, the largest |x|,
the number of tokens and windows, and on request the Gram matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from tools.io.errors import SecateurError
from tools.model.architecture import Architecture
from tools.model.architecture.products import Product, watched
from tools.model.checkpoint import Model
from tools.statistics.hessian import obs_factor
from tools.text.windows import Windows

BATCH_TOKENS = 2048
"""Tokens of one forward pass; more costs memory and gains no speed on a CPU."""
FEWEST = 32
"""Tokens that an expert must have seen to be judged by them; with fewer it is judged by those of its layer."""


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
    routed: bool = False
    """Tokens come as a router sends them, in no windows: `scaler` is `length` times the mean of x^2 over them."""
    pooled: bool = False
    """These are of all experts of a layer together."""
    _factors: dict[float, torch.Tensor] = field(default_factory=dict, repr=False)

    @classmethod
    def empty(
        cls, width: int, length: int, device: torch.device | str, gram: bool, routed: bool = False
    ) -> InputStatistics:
        """Of an input of `width` channels, before any token was seen."""

        def zeros(dtype: torch.dtype = torch.float64) -> torch.Tensor:
            return torch.zeros(width, dtype=dtype, device=device)

        matrix = torch.zeros(width, width, device=device) if gram else None
        return cls(zeros(), zeros(), zeros(), zeros(torch.float32), length, gram=matrix, routed=routed)

    @classmethod
    def together(cls, parts: Sequence[InputStatistics]) -> InputStatistics:
        """Of all experts of a layer, as if one had seen all their tokens."""
        tokens = sum(s.tokens for s in parts)
        scaler = torch.stack([s.scaler * (s.tokens / max(1, tokens)) for s in parts]).sum(0)
        total, absolute = (torch.stack([getattr(s, k) for s in parts]).sum(0) for k in ("total", "absolute"))
        largest = torch.stack([s.largest for s in parts]).amax(0)
        grams = [s.gram for s in parts if s.gram is not None]
        gram = sum(grams[1:], grams[0]) if grams else None
        return cls(total, absolute, largest, scaler, parts[0].length, tokens, gram, routed=True, pooled=True)

    def add(self, x: torch.Tensor) -> None:
        """Account for a batch of inputs (..., in_features)."""
        flat = x.detach().reshape(-1, x.shape[-1]).float()
        if not len(flat) or self._fills_in(x):  # an expert may be called with no token
            return
        self.total += flat.sum(0)
        # Not vector_norm, whose one and infinity norms down the columns take several times as long.
        size = flat.abs()
        self.absolute += size.sum(0)
        self.largest = torch.maximum(self.largest, size.amax(0).double())
        if self.gram is not None:
            self.gram.addmm_(flat.T, flat)
        if self.routed:
            self.tokens += len(flat)
            self.scaler *= 1 - len(flat) / self.tokens
            self.scaler += torch.linalg.vector_norm(flat, dim=0) ** 2 * (self.length / self.tokens)
            return
        for norm in torch.linalg.vector_norm(flat.view(-1, self.length, flat.shape[1]), dim=1):
            seen = self.windows
            self.tokens += self.length
            self.scaler *= seen / (seen + 1)
            self.scaler += norm**2 / (seen + 1)

    def _fills_in(self, x: torch.Tensor) -> bool:
        """Whether these are no tokens, but zeros in the place of those before a window (Zaya)."""
        few = not self.routed and x.dim() > 2 and x.shape[-2] < self.length
        return few and not x.any()

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
    handles, of_experts = [], {}

    def hook(statistics: InputStatistics) -> Callable[..., None]:
        return lambda module, args: statistics.add(args[0])

    known = {p.name: p for p in model.architecture.projections}
    for first, members in names.items():
        p, network = known[first], model.network
        statistics = InputStatistics.empty(p.in_features, length, model.device, gram, routed=p.expert is not None)
        if p.part is None:
            handles.append(network.get_submodule(first).register_forward_pre_hook(hook(statistics)))
        else:
            of_experts[p.part.parameter, p.part.offset] = statistics
        found |= dict.fromkeys(members, statistics)
    try:
        with watched(model.network, {name: network.get_parameter(name) for name, _ in of_experts}, _adding(of_experts)):
            yield found
    finally:
        for handle in handles:
            handle.remove()


def _adding(of: Mapping[tuple[str, int], InputStatistics]) -> Callable[[Product], None]:
    """Adds what is multiplied with the matrix that begins at a place of a parameter."""

    def met(product: Product) -> None:
        statistics = of.get((product.parameter, product.offset))
        rows = product.x[product.x.any(-1)] if product.padded else product.x
        if statistics is not None and rows.numel():
            statistics.add(rows)

    return met


def settled(inputs: Mapping[str, InputStatistics], architecture: Architecture) -> dict[str, InputStatistics]:
    """The same, where experts that saw fewer than FEWEST tokens have the statistics of their layer's together.

    Raises:
        SecateurError: no token came to any expert of a layer.
    """
    found, kin = dict(inputs), dict[str, list[str]]()
    known = {p.name: p for p in architecture.projections}
    shared = {first: names for first, names in shared_inputs(architecture).items() if first in inputs}
    for first in shared:
        if inputs[first].routed:
            kin.setdefault(known[first].kin, []).append(first)
    for layer, firsts in kin.items():
        few = [first for first in firsts if inputs[first].tokens < FEWEST]
        if few:
            together = InputStatistics.together([inputs[first] for first in firsts])
            if not together.tokens:
                raise SecateurError(f"no token of the calibration text comes to {layer}: it cannot be pruned")
            found |= {name: together for first in few for name in shared[first]}
    return found
