"""What is said of recipes, as steering reads it: in English, whichever language it was said in."""

from __future__ import annotations

from agent.session.talk.grammar.acts import Heard, Twofold
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
    "off": "no",
    "allow": "allow",
    "again": "again",
}
"""Kind of a token -> the word that steering knows."""
_FIRST = ("no", "allow")
"""Words that stand before what they are said of, wherever another language has them."""
_VALUES = ("method", "pattern", "nm")
_SPARES = ("spare", "alone", "keep")


def in_english(heard: Heard) -> str:
    """The words as they were said where they are English, else what they come to."""
    if _spares(heard):
        return _spared(heard)
    if all(_english(token) for token in heard.tokens):
        return heard.text
    told = [word for token in heard.tokens if (word := _word(token))]
    return " ".join(sorted(told, key=lambda word: word not in _FIRST))


def _spares(heard: Heard) -> bool:
    """Whether blocks are named that shall stay, in words that steering would not know."""
    english = all(_english(token) for token in heard.tokens)
    odd = any(token.kind == "spare" and plain(token.text) in _ODD for token in heard.tokens)
    return heard.has(*_SPARES) and heard.has("block_id", "block") and (odd or not english or heard.has("keep"))


_ODD = ("except", "except for", "but not", "without touching", "keep away from", "apart from")


def _spared(heard: Heard) -> str:
    """Blocks by their numbers, or those at one end, or at both.

    Raises:
        Twofold: numbers and ends are named in a way that says too little.
    """
    numbers = [int(token.value) for token in heard.tokens if token.kind == "number"]
    named = [token for token in heard.tokens if token.kind == "block_id"]
    told = [int(token.value) for token in named if _numbered(token)]
    ends = [end for token in heard.tokens if (end := _end(token))]
    if not ends:
        return f"spare blocks {', '.join(map(str, [*told, *numbers]))}"
    if told or len(ends) > 2 or len(numbers) > len(ends) or (numbers and len(numbers) < len(ends)):
        raise Twofold('which blocks? Say one after the other: "spare block 0", "spare the last 2 blocks"')
    if len(ends) == 1 and not numbers:
        return f"spare {'block 0' if ends[0] == 'first' else 'the last block'}"
    each = [f"{end} {number}" for end, number in zip(ends, numbers or [1] * len(ends), strict=True)]
    return f"spare the {' and '.join(each)} blocks"


def _numbered(token: Token) -> bool:
    return any(letter.isdigit() for letter in token.text)


def _end(token: Token) -> str:
    """The end of the model that a token names."""
    if token.kind in ("first", "last"):
        return token.kind
    if token.kind != "block_id" or _numbered(token):
        return ""
    return "last" if token.value == -1 else "first"


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
