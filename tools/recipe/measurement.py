"""A measurement: one number with its protocol. Numbers without a protocol do not exist here."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Literal

from pydantic import Field

from tools.io.frozen import Frozen

Kind = Literal["perplexity", "divergence"]


class Protocol(Frozen):
    """How a number was measured: enough to measure it again."""

    text: str
    """Name of the text, for example `builtin/test` or a file name."""
    text_sha256: str
    """Hash of the token ids that were read."""
    windows: int
    length: int
    """Tokens per window."""
    begin: str = ""
    """What every window begins with, for example `<bos>`, where it is more than the text."""
    convention: str = "non-overlapping windows, mean over predicted tokens"
    dtype: str
    device: str
    model: str
    """Fingerprint of the dense model."""
    form: Literal["dense", "dense statistics", "propagated", "as loaded"] = "as loaded"
    """How the pruned weights came about: from statistics of the dense model (search) or block after block (final)."""
    libraries: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What is unusual about the windows, and must be said with the number: `longer than ...`."""

    @property
    def read(self) -> str:
        """What was read, in words: `16 windows of 512 tokens`, and what is unusual about them."""
        begin = f", each after {self.begin}" if self.begin else ""
        return ", ".join((f"{self.windows} windows of {self.length} tokens{begin}", *self.notes))


class Measurement(Frozen):
    """One number: mean perplexity of a text, or mean KL divergence (nats per token) to the dense model."""

    kind: Kind
    value: float
    tokens: int
    """Predicted tokens that the mean runs over."""
    sparsity: float
    """Measured share of zeros in the prunable weights, 0 for the dense model."""
    seconds: float
    peak_mib: float = 0.0
    protocol: Protocol


@cache
def libraries() -> dict[str, str]:
    """Versions of what decides a number."""
    return {name: version(name) for name in ("torch", "transformers")}
