"""How fast a model is, as data: what is measured, how it was measured, and what came out."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import quantiles
from typing import Annotated

from pydantic import Field

from tools.io.frozen import Frozen

ON_CUDA = "largest allocation of prefill and decoding, less what other models hold"
ELSEWHERE = "parameters, buffers and key-value cache; temporary tensors are not counted"


class Timing(Frozen):
    """What is measured."""

    batches: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(1, 4), min_length=1)
    """Sequences at a time: each size is measured on its own."""
    prompt: int = Field(default=512, ge=1)
    """Tokens of a sequence that are there before decoding."""
    new: int = Field(default=64, ge=1)
    """Tokens that are decoded after it, each by one forward pass."""
    repeats: int = Field(default=3, ge=1)
    """Rounds that count; one more warms up."""


class LatencyProtocol(Timing):
    """How times were taken: enough to take them again."""

    prompt_text: str = "random token ids, the same for all models"
    order: str = "models in turn in one process, after one round of warm-up"
    memory: str
    """What is meant by peak memory."""
    dtype: str
    device: str
    hardware: str
    """Name of the GPU, or of the CPU."""
    threads: int
    """CPU threads of torch."""
    libraries: dict[str, str]


class Spread(Frozen):
    """What every round gave (seconds, or a ratio of them), the median and the quartiles."""

    median: float
    lower: float
    upper: float
    rounds: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of at least one round; quartiles are interpolated between rounds."""
        rounds = tuple(values)
        lower, median, upper = quantiles(rounds if len(rounds) > 1 else rounds * 2, n=4, method="inclusive")
        return cls(median=median, lower=lower, upper=upper, rounds=rounds)

    def under(self, other: Spread) -> Spread:
        """How many times as much the other is, round by round: what disturbed both in a round falls out."""
        return Spread.of(theirs / ours for ours, theirs in zip(self.rounds, other.rounds, strict=True))


class Times(Frozen):
    """One model at one batch size."""

    batch: int
    prefill: Spread
    """Of one forward pass over (batch, prompt) tokens."""
    blocks: Spread
    """Of all blocks one after the other on (batch, prompt, width) hidden states."""
    decode: Spread
    """Of one forward pass over (batch, 1) tokens, the mean of a round's `new` passes."""
    prefill_tokens_per_second: float
    decode_tokens_per_second: float
    """Of all sequences of the batch together."""
    cache_bytes: int
    """Keys and values after the last token."""
    peak_bytes: int


class Speed(Frozen):
    """Size and times of one model."""

    model: str
    """What the person typed."""
    fingerprint: str
    attention: str
    """Which implementation of attention transformers uses, for example `sdpa`."""
    parameters: int
    """A matrix that is used twice counts once."""
    blocks: int
    weight_bytes: int
    """Parameters and buffers as loaded."""
    disk_bytes: int
    """Files of weights."""
    times: tuple[Times, ...]


class Latency(Frozen):
    """What was measured: the models in the order they were given, their times in the order of the plan's batches."""

    protocol: LatencyProtocol
    models: tuple[Speed, ...]
    seconds: float
    """That measuring took."""
