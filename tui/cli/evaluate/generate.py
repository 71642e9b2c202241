"""`secateur evaluate --generate`: what one model or two write after the same prompts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.measure.generate import continuations, prompt_tokens, protocol
from tools.model.checkpoint import open_reader
from tools.text.prompts import read_prompts
from tui.cli.shell import print_json
from tui.text.continuations import Written, shown

if TYPE_CHECKING:
    from agent.session.settings import Settings

NEW = 64
"""Tokens that are written after each prompt, unless --new says otherwise."""


def generate(models: Sequence[str], file: Path, new: int | None, settings: Settings, *, json: bool) -> None:
    """Continue the prompts of a file with one model or two, and print what they write.

    One after the other, so that one is held at a time. What either cannot read is told before any weights are read.
    """
    prompts = read_prompts(file)
    for name in models:
        prompt_tokens(open_reader(name, settings.cache), prompts, new or NEW)
    written = [_written(name, prompts, new or NEW, settings) for name in models]
    print_json(_together(written)) if json else print(shown(written))


def _written(name: str, prompts: Sequence[str], new: int, settings: Settings) -> Written:
    model = settings.opened(name)

    def begin(number: int) -> None:
        print(f"{name}: prompt {number} of {len(prompts)}", file=sys.stderr)

    return Written(name, protocol(model, new), continuations(model, prompts, new, begin))


def _together(found: Sequence[Written]) -> dict[str, Any]:
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
