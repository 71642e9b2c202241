"""Rotary embeddings: what a GGUF says of them, as transformers' parameters, and whether a network turns so.

llama.cpp turns the pair i of a head at position t by t * theta^(-2i/n), scaled by `rope.scaling.*` and divided by the
tensor `rope_freqs.weight` (its src/llama-model.cpp and ggml's `ggml_rope_ext`). Which parameters say the same to
transformers differs from family to family, so the frequencies of the loaded network are compared with the file's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tools.io.errors import SecateurError

if TYPE_CHECKING:
    import torch

FACTORS = "rope_freqs.weight"
"""The tensor that holds the divisors of Llama 3.1's stretching, one for each pair."""

CONTEXTS = (8192, *(2**power for power in range(4, 24)))
"""Original contexts that are tried before others; that of Llama 3 first."""

IGNORED = {"scaling.finetuned", "dimension_sections"}
"""Keys below `rope.` that change nothing: of a text all sections count the same positions."""

NEUTRAL: dict[str, tuple[float, ...]] = {
    "scaling.attn_factor": (0.0, 1.0),
    "scaling.yarn_attn_factor": (0.0, 1.0),
    "scaling.yarn_ext_factor": (-1.0, 1.0),
    "scaling.yarn_log_multiplier": (0.0,),
    "scaling.alpha": (0.0, 1.0),
}
"""Keys below `rope.` that are read nowhere -> values that change nothing."""

READ = {
    "dimension_count",
    "freq_base",
    "scale_linear",
    "scaling.type",
    "scaling.factor",
    "scaling.original_context_length",
    "scaling.yarn_beta_fast",
    "scaling.yarn_beta_slow",
}


@dataclass(frozen=True)
class Rope:
    """What a GGUF says of its rotary embedding."""

    kind: str
    """default, linear, yarn or llama3."""
    theta: float
    size: int
    """How many entries of a head are turned."""
    factor: float = 1.0
    context: int = 0
    """The context before stretching, of yarn; of llama3 where the file says it, otherwise 0."""
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    divisors: torch.Tensor | None = None
    """(size / 2,), of llama3."""

    def parameters(self) -> dict[str, Any]:
        """As `rope_parameters` of a configuration.

        Raises:
            SecateurError: no parameters of llama3 give the divisors.
        """
        found: dict[str, Any] = {"rope_type": self.kind, "rope_theta": self.theta}
        if self.kind in ("linear", "yarn"):
            found["factor"] = self.factor
        if self.kind == "yarn":
            found |= {"original_max_position_embeddings": self.context}
            betas = {"beta_fast": (self.beta_fast, 32.0), "beta_slow": (self.beta_slow, 1.0)}
            found |= {name: value for name, (value, usual) in betas.items() if value != usual}
        if self.divisors is not None:
            found |= stretching(self.divisors, self.theta, self.context)
        return found

    def frequencies(self) -> torch.Tensor:
        """Radians per position of every pair, (size / 2,) in float64."""
        import torch

        usual = self.theta ** -(torch.arange(0, self.size, 2, dtype=torch.float64) / self.size)
        if self.divisors is not None:
            return usual / self.divisors.double()
        if self.kind != "yarn":
            return usual / self.factor
        ends = [self._turning(beta) for beta in (self.beta_fast, self.beta_slow)]
        low, high = max(math.floor(ends[0]), 0), min(math.ceil(ends[1]), self.size - 1)
        ramp = 1 - ((torch.arange(self.size // 2) - low) / max(0.001, high - low)).clamp(0, 1).double()
        return usual / self.factor * (1 - ramp) + usual * ramp

    @property
    def amplitude(self) -> float:
        """What sines and cosines are multiplied with."""
        return 0.1 * math.log(self.factor) + 1 if self.kind == "yarn" and self.factor > 1 else 1.0

    def _turning(self, beta: float) -> float:
        """The pair that turns `beta` times within the context: ggml's `ggml_rope_yarn_corr_dim`."""
        return self.size * math.log(self.context / (beta * 2 * math.pi)) / (2 * math.log(self.theta))


def read(architecture: str, said: Mapping[str, Any], head: int, factors: torch.Tensor | None) -> Rope:
    """The rotary embedding of a file; of Gemma 3 that of the blocks without a window.

    Args:
        architecture: as the file calls it.
        said: its keys without the architecture's name.
        head: the size of a head. factors: the tensor `rope_freqs.weight`, if there is one.

    Raises:
        SecateurError: it says something that is not known here.
    """
    keys = {key.removeprefix("rope."): value for key, value in said.items() if key.startswith("rope.")}
    for key, value in keys.items():
        if key == "freq_base_swa" and (architecture == "gemma3" or value == keys.get("freq_base")):
            continue
        if key not in READ | IGNORED and value not in NEUTRAL.get(key, ()):
            raise SecateurError(f"rope.{key} is {value}, which is not read here")
    theta, size = float(keys.get("freq_base", 10_000.0)), int(keys.get("dimension_count", head))
    # A scale without a kind is linear, in llama.cpp too.
    factor = float(keys.get("scaling.factor") or keys.get("scale_linear") or 1.0)
    kind = str(keys.get("scaling.type", "linear"))
    if kind not in ("none", "linear", "yarn"):
        raise SecateurError(f"rope.scaling.type is {kind}, which is not read here")
    original = int(keys.get("scaling.original_context_length", 0))
    if factors is not None and bool((factors != 1).any()):
        if kind != "none" and factor != 1:
            raise SecateurError(f"its rotary embedding is stretched twice, by {FACTORS} and by rope.scaling.factor")
        return Rope("llama3", theta, size, context=original, divisors=factors)
    if kind == "none" or factor == 1:
        return Rope("default", theta, size)
    context = original or int(said.get("context_length", 0))
    fast, slow = float(keys.get("scaling.yarn_beta_fast", 32.0)), float(keys.get("scaling.yarn_beta_slow", 1.0))
    return Rope(kind, theta, size, factor, context, fast, slow)


def llama3_divisors(theta: float, size: int, factor: float, low: float, high: float, context: float) -> torch.Tensor:
    """Llama 3.1's divisors of the rotary frequencies, (size / 2,) in float32.

    Wavelengths below L/high are kept, those above L/low are divided by `factor`, between them 1/divisor goes linearly
    with L/wavelength, L being the original context: transformers' `_compute_llama3_parameters`.
    """
    import torch

    frequencies = theta ** -(torch.arange(0, size, 2, dtype=torch.float64) / size)
    smooth = ((context * frequencies / (2 * math.pi) - low) / (high - low)).clamp(0, 1)
    divisors: torch.Tensor = 1 / ((1 - smooth) / factor + smooth)
    return divisors.float()


def stretching(divisors: torch.Tensor, theta: float, original: int = 0) -> dict[str, Any]:
    """The parameters of llama3 that give these divisors; where several do, the usual ones.

    Args:
        divisors: (size / 2,). theta: of the frequencies. original: the original context, where it is known.

    Raises:
        SecateurError: none do.
    """
    import torch

    size, factor = 2 * len(divisors), float(divisors.max())
    factor = round(factor) if abs(factor - round(factor)) < 1e-5 * factor else factor
    for low, high, context in _candidates(divisors.double(), theta, factor, original):
        if high <= low:
            continue
        given = llama3_divisors(theta, size, factor, low, high, context)
        if torch.allclose(given, divisors.float(), rtol=2e-6, atol=0):
            named = {"factor": float(factor), "low_freq_factor": low, "high_freq_factor": high}
            return named | {"original_max_position_embeddings": context}
    raise SecateurError(f"{FACTORS} holds divisors that no llama3 scaling of transformers gives")


def _candidates(
    divisors: torch.Tensor, theta: float, factor: float, original: int
) -> Iterator[tuple[float, float, int]]:
    """Low and high factor and original context: usual ones, then those that the divisors determine.

    With x turns per position (L x - low) / (high - low) = (1/divisor - 1/factor) / (1 - 1/factor) between the ends, and
    all of L, low and high can be multiplied with one number, so `low` is taken to be 1. Two pairs between the ends
    determine the line; one leaves L open, and none leaves both open, within what the pairs beside them allow.
    """
    import torch

    yield from ((1.0, 4.0, context) for context in (original, *CONTEXTS) if context)
    turns = theta ** -(torch.arange(len(divisors), dtype=torch.float64) / len(divisors)) / (2 * math.pi)
    between = (divisors > 1) & (divisors < factor)
    at, line = turns[between].tolist(), ((1 / divisors[between] - 1 / factor) / (1 - 1 / factor)).tolist()
    kept, divided = turns[divisors == 1].tolist() or [1.0], turns[(divisors > 1) & ~between].tolist() or [0.0]
    if len(at) > 1:
        slope = (line[0] - line[-1]) / (at[0] - at[-1])
        if (start := slope * at[0] - line[0]) > 0:
            yield 1.0, round(1 + 1 / start, 4), round(slope / start)
    elif at:
        first = math.ceil(1 / at[0])
        yield from ((1.0, 1 + (context * at[0] - 1) / line[0], context) for context in range(first, 4 * first))
    elif divided[0]:
        context = math.floor(1 / divided[0])
        yield 1.0, (1 + context * kept[-1]) / 2, context


def check(network: Any, everywhere: Rope, windows: Rope | None) -> None:
    """Compare the frequencies of a network with those of the file.

    Args:
        network: of transformers; its buffers named `...inv_freq` hold frequencies.
        everywhere: what the file says. windows: of layers that look at a window only, where those turn otherwise.

    Raises:
        SecateurError: they differ.
    """
    import torch

    for path, module in network.named_modules():
        for name, found in module.named_buffers(recurse=False):
            if not name.endswith("inv_freq") or name.endswith("original_inv_freq"):
                continue
            prefix = name.removesuffix("inv_freq")
            rope = windows if windows is not None and prefix.startswith("sliding") else everywhere
            wanted = rope.frequencies()
            amplitude = float(getattr(module, f"{prefix}attention_scaling", 1.0))
            same = found.shape == wanted.shape and torch.allclose(found.double(), wanted, rtol=1e-5, atol=0)
            if not same or abs(amplitude - rope.amplitude) > 1e-6:
                raise SecateurError(f"its rotary embedding ({rope.kind}) is not what transformers computes at {path}")
