"""Snapshot pictures: what an app draws is compared with an SVG that a person has looked at and accepted."""

from __future__ import annotations

import asyncio
import difflib
import html
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

FOLDER = Path(__file__).with_name("pictures")
UPDATE = "SECATEUR_UPDATE_PICTURES"

Steps = Callable[[Pilot[Any]], Awaitable[object]]

_FONT = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
_PREFIX = re.compile(r"terminal-\d+-")
_TEXT = re.compile(r'<text [^>]*clip-path="url\(#terminal-line-(\d+)\)">(.*?)</text>')


def picture(app_factory: Callable[[], App[Any]], size: tuple[int, int], steps: Steps | None = None) -> str:
    """What an app draws on so many columns and lines once `steps` were taken, as a normalised SVG."""

    async def take() -> str:
        app = app_factory()
        app.animation_level = "none"
        async with app.run_test(size=size) as pilot:
            if steps is not None:
                await steps(pilot)
            await pilot.pause()
            for entry in app.screen.query("Input, TextArea"):
                assert isinstance(entry, Input | TextArea)
                entry.cursor_blink = False  # whether it is seen must not hang on the moment
            await pilot.wait_for_scheduled_animations()
            await pilot.pause()
            return normalised(app.export_screenshot())

    return asyncio.run(take())


def normalised(svg: str) -> str:
    """Without what differs between two pictures that look alike: ids that are a hash, fonts from the network."""
    svg = _PREFIX.sub("terminal-", _FONT.sub("", svg))
    return "\n".join(line.rstrip() for line in svg.strip().splitlines()) + "\n"


def same_picture(svg: str, name: str) -> None:
    """Fail where a picture is not the one in `tests/tui/pictures/NAME.svg`, and say how to look at it and accept it."""
    accepted, new = FOLDER / f"{name}.svg", FOLDER / f"{name}.new.svg"
    FOLDER.mkdir(exist_ok=True)
    if os.environ.get(UPDATE):
        accepted.write_text(svg, encoding="utf-8")
    before = accepted.read_text(encoding="utf-8") if accepted.exists() else ""
    if svg == before:
        new.unlink(missing_ok=True)
        return
    new.write_text(svg, encoding="utf-8")
    problem = "is not what it was" if before else "was never accepted"
    pytest.fail(
        f"picture {name} {problem}.\n{_difference(before, svg)}\n"
        f"Look at {new.as_uri()} beside {accepted.name} in a browser.\n"
        f"If it is right, run this test again with {UPDATE}=1 and commit {accepted.name}.",
        pytrace=False,
    )


def _difference(before: str, now: str) -> str:
    """The lines of text that differ; colours do not show in it."""
    lines = difflib.unified_diff(_lines(before), _lines(now), "accepted", "now", lineterm="", n=0)
    return "\n".join(lines) or "The text is the same; colours or styles differ."


def _lines(svg: str) -> list[str]:
    """The text of a picture."""
    found: dict[int, str] = {}
    for number, text in _TEXT.findall(svg):
        found[int(number)] = found.get(int(number), "") + html.unescape(text).replace("\xa0", " ")
    return [found[number].rstrip() for number in sorted(found)]
