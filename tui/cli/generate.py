"""`secateur evaluate --generate`: what one model or two write after the same prompts, to be read or as JSON."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runs.plain import plain

if TYPE_CHECKING:
    from agent.session.settings import Settings
    from tools.measure.continuation import Continuation, ContinuationProtocol

NEW = 64
"""Tokens that are written after each prompt, unless --new says otherwise."""
TAIL = 30
"""Characters that are repeated of where two texts part."""


@dataclass(frozen=True)
class Written:
    """What one model wrote after every prompt."""

    model: str
    protocol: ContinuationProtocol
    continuations: tuple[Continuation, ...]


def written(model: str, against: str | None, file: Path, new: int | None, found: Settings) -> list[Written]:
    """Continue the prompts of a file with one model or two, one after the other, so that one is held at a time. What
    either cannot read is told before any weights are read."""
    from tools.measure.generate import prompt_tokens
    from tools.model.checkpoint import open_reader
    from tools.text.prompts import read_prompts

    prompts, names = read_prompts(file), [name for name in (model, against) if name is not None]
    for name in names:
        prompt_tokens(open_reader(name, found.cache), prompts, new or NEW)
    return [_written(name, prompts, new or NEW, found) for name in names]


def _written(name: str, prompts: Sequence[str], new: int, found: Settings) -> Written:
    from tools.measure.generate import continuations, protocol

    model = found.opened(name)

    def begin(number: int) -> None:
        print(f"{name}: prompt {number} of {len(prompts)}", file=sys.stderr)

    return Written(name, protocol(model, new), continuations(model, prompts, new, begin))


def facts(found: Sequence[Written]) -> dict[str, Any]:
    """One object; the second model's, in the same form, under `against`."""
    ours, *others = map(_facts, found)
    return ours | ({"against": others[0]} if others else {})


def _facts(of: Written) -> dict[str, Any]:
    return {
        "model": of.model,
        "protocol": of.protocol.model_dump(mode="json"),
        "prompts": [
            {
                "prompt": said.prompt,
                "text": said.text,
                "tokens": said.tokens,
                "tokens_per_second": round(said.tokens_per_second, 1),
            }
            for said in of.continuations
        ],
    }


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
    tail = " ".join(plain(same[-TAIL:]).split())
    return [f"the same for the first {len(same)} characters, up to “{'…' if len(same) > TAIL else ''}{tail}”"]


def _wrapped(text: str) -> Iterable[str]:
    """The text in lines that fit the terminal, indented."""
    from rich.console import Console
    from rich.text import Text

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
