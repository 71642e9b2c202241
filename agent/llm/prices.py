"""What tokens cost, in US dollars per million.

List prices change; `prices.toml` in the home overrides and extends the table:

    ["openai:my-model"]
    read = 0.5
    write = 2.0
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError

from tools.io.errors import UsageError
from tools.io.frozen import Frozen, first_problem

FILE = "prices.toml"
OWN_SERVER = "OPENAI_BASE_URL"
"""Names a server of the person's own, which nobody is paid for."""


class Price(Frozen):
    """US dollars per million tokens."""

    read: float = Field(ge=0)
    write: float = Field(ge=0)

    def of(self, tokens_in: int, tokens_out: int) -> float:
        """What so many tokens cost."""
        return (tokens_in * self.read + tokens_out * self.write) / 1e6


LIST: dict[str, Price] = {
    "openai:gpt-4o": Price(read=2.5, write=10),
    "openai:gpt-4o-mini": Price(read=0.15, write=0.6),
    "openai:gpt-4.1": Price(read=2, write=8),
    "openai:gpt-4.1-mini": Price(read=0.4, write=1.6),
    "openai:gpt-4.1-nano": Price(read=0.1, write=0.4),
    "openai:gpt-5": Price(read=1.25, write=10),
    "openai:gpt-5-mini": Price(read=0.25, write=2),
    "openai:gpt-5-nano": Price(read=0.05, write=0.4),
    "openai:gpt-5.2": Price(read=1.75, write=14),
    "openai:gpt-5.4": Price(read=2.5, write=15),
    "openai:gpt-5.4-mini": Price(read=0.75, write=4.5),
    "openai:gpt-5.4-nano": Price(read=0.2, write=1.25),
}
"""List prices for tokens that no cache knows, as published up to 2026."""

_TABLE: TypeAdapter[dict[str, Price]] = TypeAdapter(dict[str, Price])


def own(name: str) -> bool:
    """Whether nobody is paid for a designer: it is in this process, or behind a server of the person's own."""
    kind, colon, _ = name.partition(":")
    return not colon or kind in ("local", "replay", "ollama") or (kind == "openai" and OWN_SERVER in os.environ)


def price_of(name: str, home: Path) -> Price | None:
    """The price of a designer; None where it is not known.

    Raises:
        UsageError: `prices.toml` is malformed.
    """
    path = home / FILE
    try:
        own = _TABLE.validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        own = {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: is not TOML ({error})") from error
    except ValidationError as error:
        raise UsageError(f"{path}: {first_problem(error)}") from error
    return (LIST | own).get(name)
