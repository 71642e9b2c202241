"""Secrets stay in memory: whatever is written down or shown goes through `scrub` first."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import cache
from typing import Any
from urllib.parse import urlsplit

MASK = "***"
SHORTEST = 6
"""Shorter values are words that text may hold by chance."""
_NAMES = re.compile(r"(_|API)KEY(_|$)|TOKEN(_|$)|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_ADDRESSES = ("OPENAI_BASE_URL",)


def secrets() -> list[str]:
    """The secrets of this process: values of variables that are named like one, and passwords and queries in the
    endpoint's address; the longest first, as one may hold another."""
    found = {value for name, value in os.environ.items() if _is_secret(name)}
    for name in _ADDRESSES:
        try:
            address = urlsplit(os.environ.get(name, ""))
            found |= {address.password or "", address.username or "", address.query}
        except ValueError:  # no address at all; the client will say so
            found.add(os.environ[name])
    return sorted((value for value in found if len(value) >= SHORTEST), key=len, reverse=True)


@cache
def _is_secret(name: str) -> bool:
    """Asked of every variable with every event."""
    return _NAMES.search(name) is not None


def scrub(text: str) -> str:
    """The text without any secret."""
    return str(_masked(text, secrets()))


def unfinished(text: str) -> int:
    """How many of the last characters may be the beginning of a secret, whose rest is still to come."""
    most = 0
    for secret in secrets():
        longest = min(len(secret) - 1, len(text))
        most = max(most, next((n for n in range(longest, 0, -1) if text.endswith(secret[:n])), 0))
    return most


def scrub_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """The same fields with every text in them scrubbed, however deep; numbers and names of fields stay."""
    return dict(_masked(fields, secrets()))


def _masked(value: Any, known: Sequence[str]) -> Any:
    match value:
        case str():
            for secret in known:
                value = value.replace(secret, MASK)
            return value
        case dict():
            return {name: _masked(part, known) for name, part in value.items()}
        case list() | tuple():
            return type(value)(_masked(part, known) for part in value)
        case _:
            return value
