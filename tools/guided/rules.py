"""Grammars as data: rules without recursion, so that the longest text is known before anything is written.

They are written out in the Lark dialect of llguidance, which does all parsing. Every text is printable ASCII, one byte
per character, and a token has at least one byte: the length of a text bounds the number of its tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Literal:
    """Exactly this text."""

    text: str


@dataclass(frozen=True)
class Pattern:
    """What a regular expression matches, at most `longest` characters."""

    regex: str
    longest: int


@dataclass(frozen=True)
class Json:
    """A scalar that a JSON schema describes, at most `longest` characters; llguidance knows how."""

    schema: str
    longest: int

    @classmethod
    def of(cls, schema: Mapping[str, Any], longest: int) -> Json:
        """The grammar of a JSON schema, without free whitespace."""
        options = {"whitespace_flexible": False, "json_allowed_escapes": '"\\'}
        return cls(json.dumps({"x-guidance": options, **schema}), longest)


@dataclass(frozen=True)
class Rule:
    """Whatever the rule of this name derives."""

    name: str


Symbol = Literal | Pattern | Json | Rule
Alternative = tuple[Symbol, ...]


@dataclass(frozen=True)
class Grammar:
    """Named rules, each a choice of sequences; the first symbol of a text is `start`."""

    start: Symbol
    rules: Mapping[str, tuple[Alternative, ...]] = field(default_factory=dict)

    def lark(self) -> str:
        """The grammar in llguidance's dialect of Lark."""
        lines = [f"start: {_lark(self.start)}"]
        for name, alternatives in self.rules.items():
            lines.append(f"{name}: {' | '.join(' '.join(map(_lark, one)) for one in alternatives)}")
        return "\n".join(lines) + "\n"

    @cached_property
    def longest(self) -> int:
        """Characters of the longest text."""
        lengths: dict[str, int] = {}

        def of(symbol: Symbol) -> int:
            match symbol:
                case Literal(text):
                    return len(text)
                case Pattern(_, longest) | Json(_, longest):
                    return longest
                case Rule(name):
                    if name not in lengths:
                        lengths[name] = max(sum(map(of, alternative)) for alternative in self.rules[name])
                    return lengths[name]

        return of(self.start)


def _lark(symbol: Symbol) -> str:
    match symbol:
        case Literal(text):
            return json.dumps(text)
        case Pattern(regex, _):
            return f"/{regex}/"
        case Json(schema, _):
            return f"%json {schema}"
        case Rule(name):
            return name
