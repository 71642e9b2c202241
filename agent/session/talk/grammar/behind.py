"""What follows a prune in its line and has no amount of its own: `and make it faster`, `and compress it`."""

from __future__ import annotations

from collections.abc import Sequence

from agent.session.talk.grammar.acts import CUTS, FREE, Call
from agent.session.talk.grammar.tokens import Token

_VERBS = ("make", "compress", "shrink")
_AMOUNTS = frozenset({"share", "nm", "times", "number", "pattern"})
_SIZED = ("faster", "fast", "smaller", "compress", "shrink")
_SPEED = ("speed up", "speed it up")
_FASTER = (
    'a share and a speed-up follow from each other, so one of them is an order: "make MODEL 1.4 times faster" is the '
    "other"
)
_SMALLER = (
    'how much smaller? "make MODEL 30 % smaller" is an order of its own; zeros alone make no file smaller, but '
    '`--compress` in a terminal packs them, and "export it as q8_0" writes fewer bits'
)


def behind(tokens: Sequence[Token]) -> bool:
    """Whether an order without an amount stands behind one with its amount."""
    for place, token in enumerate(tokens):
        before, after = tokens[:place], tokens[place + 1 :]
        if token.kind in CUTS and _kinds(before) & _AMOUNTS and _is_order(after):
            return True
    return False


def _is_order(tokens: Sequence[Token]) -> bool:
    kinds = _kinds(tokens)
    verb = bool(kinds & set(_VERBS)) or any(token.text.lower() in _SPEED for token in tokens)
    return verb and bool(kinds & set(_SIZED)) and not kinds & _AMOUNTS


def _kinds(tokens: Sequence[Token]) -> set[str]:
    return {token.kind for token in tokens}


def bare(tokens: Sequence[Token]) -> bool:
    """Whether it is `speed it up` and nothing else, which no act reads."""
    return _is_order(tokens) and _kinds(tokens) <= FREE | {"faster"}


def lacks(call: Call | None, tokens: Sequence[Token]) -> str:
    """Why what follows a prune is no order of its own, if it is read at all; empty where it is one."""
    if not (bare(tokens) if call is None else call.name == "prune" and _is_order(tokens)):
        return ""
    if call is not None and call.args.get("model", "result") != "result":
        return ""
    return _FASTER if _kinds(tokens) & {"faster", "fast"} else _SMALLER
