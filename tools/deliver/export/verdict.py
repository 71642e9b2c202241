"""What an export comes to, as data."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from tools.io.frozen import Frozen

Target = Literal["hf", "vllm", "llama.cpp"]
TARGETS: tuple[Target, ...] = get_args(Target)

Dtype = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
"""Of a GGUF's matrices: floating point, or what llama.cpp's package `gguf` can quantise to."""
DTYPES: tuple[Dtype, ...] = get_args(Dtype)


class Verdict(Frozen):
    """Whether a runtime can load a folder, and how."""

    target: Target
    verdict: Literal["ok", "needs", "cannot"]
    """`needs`: it can, given something that the lines name, such as a flag."""
    lines: tuple[str, ...]
    """For people: what to type, what to know, or why not and what else there is."""
    files: tuple[Path, ...] = ()
    """What was written: the GGUF, or the folder of a copy."""


class Cannot(Exception):
    """The target cannot load the folder; becomes a verdict."""

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = lines
