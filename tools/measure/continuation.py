"""A continuation: what a model writes after a prompt, and how it came about, as data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tools.io.frozen import Frozen


class Continuation(Frozen):
    """What a model wrote after one prompt."""

    prompt: str
    text: str
    """What follows the prompt, without the EOS token that may end it."""
    tokens: int = Field(ge=1)
    """New ones, that EOS among them."""
    seconds: float = Field(gt=0)
    """That reading the prompt and writing took."""

    @property
    def tokens_per_second(self) -> float:
        """New tokens, over the time that reading the prompt took as well."""
        return self.tokens / self.seconds


class ContinuationProtocol(Frozen):
    """How continuations were made: enough to make them again."""

    decoding: Literal["greedy"] = "greedy"
    """The token with the largest logit, whatever the checkpoint's generation_config says."""
    new: int
    """Tokens at most; EOS ends a continuation before."""
    begin: str
    """What every prompt is read after, as the tokenizer writes it: `<bos>`, or nothing."""
    dtype: str
    device: str
    hardware: str
    """Name of the GPU, or of the CPU."""
    threads: int
    """CPU threads of torch."""
    libraries: dict[str, str]
