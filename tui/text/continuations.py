"""What models write after the same prompts, to be read."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from rich.console import Console
from rich.text import Text

from runs.plain import plain
from tools.measure.continuation import Continuation, ContinuationProtocol

_TAIL = 30
"""Characters that are repeated of where two texts part."""


@dataclass(frozen=True)
class Written:
    """What one model wrote after every prompt."""

    model: str
    protocol: ContinuationProtocol
    continuations: tuple[Continuation, ...]


def shown(found: Sequence[Written]) -> str:
    """Every prompt with what was written after it, one text under the other, then how they came about."""
    lines = []
    for number, said in enumerate(zip(*(of.continuations for of in found), strict=True), start=1):
        lines += [f"prompt {number}", *_wrapped(said[0].prompt)]
        for of, one in zip(found, said, strict=True):
            lines += ["", f"{plain(of.model)}   {one.tokens} tokens, {one.tokens_per_second:.1f} tokens/s"]
            lines += _wrapped(one.text.strip() or "(nothing)")
        lines += ["", *(parting(*(one.text for one in said)) if len(said) == 2 else ()), ""]
    return "\n".join([*lines, *dict.fromkeys(map(_how, found))])


def parting(ours: str, theirs: str) -> list[str]:
    """Where two texts part; models may have different tokens, so characters are counted."""
    if ours == theirs:
        return ["the same"]
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs, strict=False))
    same = "".join(character for character, _ in alike)
    if not same.strip():
        return ["different from the start"]
    tail = " ".join(plain(same[-_TAIL:]).split())
    return [f"the same for the first {len(same)} characters, up to “{'…' if len(same) > _TAIL else ''}{tail}”"]


def _wrapped(text: str) -> Iterable[str]:
    """The text in lines that fit the terminal, indented."""
    width = max(20, shutil.get_terminal_size().columns - 2)
    return [f"  {line.plain}".rstrip() for line in Text(plain(text)).wrap(Console(width=width), width)]


def _how(of: Written) -> str:
    said = of.protocol
    begin = f", each prompt after {said.begin}" if said.begin else ""
    versions = ", ".join(f"{name} {version}" for name, version in said.libraries.items())
    return (
        f"{said.decoding}, at most {said.new} new tokens{begin}; {said.dtype} on {said.device} ({said.hardware}), "
        f"{said.threads} threads; {versions}"
    )
