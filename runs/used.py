"""A use of a tool as one line, alike wherever it is told: `· evaluate tasks (hellaswag) … 12 s`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from runs.fold.words import short_time

LONGEST = 100
"""Characters of a call in its line."""


def called(name: str, arguments: Mapping[str, Any] | str) -> str:
    """A call as a person would write it; a single argument needs no name. Arguments may be JSON."""
    if isinstance(arguments, str):
        arguments = _read(arguments)
    given = [(key.replace("_", " "), _value(value)) for key, value in arguments.items()]
    inside = given[0][1] if len(given) == 1 else ", ".join(f"{key} {value}" for key, value in given)
    return name.replace("_", " ") + (f" ({inside})" if inside else "")


def use_line(call: str, seconds: float | None = None, result: str = "") -> str:
    """The line of a call; `result` is the id of what it found. Without both it still works; without seconds it was used
    long ago."""
    call = call if len(call) <= LONGEST else f"{call[: LONGEST - 2]}…)"
    works, took = " …" if seconds is not None or not result else "", "" if seconds is None else f" {_duration(seconds)}"
    return f"· {call}{works}{took}" + (f"   {result}" if result else "")


def _read(arguments: str) -> Mapping[str, Any]:
    try:
        found = json.loads(arguments)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"": "…"}


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        value = " and ".join(str(part) for part in value)
    return " ".join(str(value).split())


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s" if seconds < 59.5 else short_time(seconds)
