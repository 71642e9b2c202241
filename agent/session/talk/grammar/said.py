"""What is said of recipes, as steering reads it: in English, whichever language it was said in."""

from __future__ import annotations

from agent.session.talk.grammar.acts import Heard
from agent.session.talk.grammar.tokens import Token
from agent.session.talk.grammar.words import language, plain

_WORDS = {
    "not": "no",
    "only": "only",
    "just": "only",
    "prefer": "prefer",
    "more": "prefer",
    "try": "prefer",
    "use": "prefer",
    "head": "heads",
    "experts": "experts",
    "block": "whole blocks",
    "allocation": "allocation",
    "metric": "metric",
    "compensation": "compensation",
    "feature": "gradients",
}
"""Kind of a token -> the word that steering knows."""
_VALUES = ("method", "pattern", "nm")
_SPARES = ("spare", "alone")


def in_english(heard: Heard) -> str:
    """The words as they were said where they are English, else what they come to."""
    if _spares(heard):
        return _spared(heard)
    if all(_english(token) for token in heard.tokens):
        return heard.text
    return " ".join(filter(None, (_word(token) for token in heard.tokens)))


def _spares(heard: Heard) -> bool:
    """Whether blocks are named that shall stay, in words that steering would not know."""
    english = all(_english(token) for token in heard.tokens)
    odd = any(token.kind == "spare" and plain(token.text) in _ODD for token in heard.tokens)
    return heard.has(*_SPARES) and heard.has("block_id", "block") and (odd or not english)


_ODD = ("except", "except for", "but not", "without touching", "keep away from", "apart from")


def _spared(heard: Heard) -> str:
    numbers = [int(token.value) for token in heard.tokens if token.kind in ("block_id", "number")]
    end = next((token.kind for token in heard.tokens if token.kind in ("first", "last")), "")
    if end:
        return f"spare the {end} {numbers[0] if numbers else 1} blocks"
    if numbers == [-1]:
        return "spare the last block"
    return f"spare blocks {', '.join(str(number) for number in numbers if number >= 0)}"


def _english(token: Token) -> bool:
    """Whether steering may know it as it was said: names and numbers, and words that are English."""
    if token.kind in _ANYWHERE:
        return True
    concepts = language("en").concepts
    words = [word for word in plain(token.text).split() if not word.isdigit()]
    return plain(token.text) in concepts or (token.kind == "block_id" and all(word in concepts for word in words))


_ANYWHERE = ("comma", "method", "nm", "number", "name", "model", "path", "quoted", "share", "candidate_id", "elided")


def _word(token: Token) -> str:
    return str(token.value) if token.kind in _VALUES else _WORDS.get(token.kind, "")
