"""What a model is asked to do when its speed counts."""

from __future__ import annotations

from pydantic import Field

from tools.io.frozen import Frozen


class Request(Frozen):
    """What a model is asked to do when its speed counts."""

    batch: int = Field(default=1, ge=1)
    prompt: int = Field(default=512, ge=1)
    """Tokens that are read."""
    new: int = Field(default=128, ge=0)
    """Tokens that are written."""

    def __str__(self) -> str:
        return f"batch {self.batch}, {self.prompt} tokens in, {self.new} out"
