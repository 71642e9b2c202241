"""A line as tokens: typed values (shares, models, paths, candidates) and concepts; what nobody knows stays a word."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from agent.session.talk.grammar.words import CODES, LATIN, Language, folded, language, plain
from runs.names import ADJECTIVES, NOUNS
from tools.expression import ALLOCATION
from tools.model.sample import SAMPLES

FAR = "\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af\uff00-\uffef"
_PATH = rf"[^\s\"'<>|,;?!{FAR}]"
_ENDING = r"gguf|safetensors|jsonl|json|txt|ya?ml|html|md"
_BRACKETS = r"\([^()]*(?:\([^()]*\)[^()]*)*\)"
_OPERAND = rf"(?:\|\s?W\s?\||[A-Za-z_]\w*(?:{_BRACKETS})?|\d+(?:\.\d+)?|{_BRACKETS})"
_SIGN = r"\s*(?:\*\*|\*|\+|\^|·|\s-\s|\s/\s|(?<=[)|])/)\s*"
"""What stands between operands; a stroke without spaces only behind a bracket, as elsewhere it may be a path's."""
_SHAPES: tuple[tuple[str, str], ...] = (
    ("quoted", r'"[^"]*"|(?<![^\s(])\'[^\']+\'(?![^\s,.;:?!)])'),
    ("url", r"https?://\S+"),
    ("designer", rf"(?<![{LATIN}./-])(?:local:|[a-z][a-z_]+:(?![/\d])){_PATH}+"),
    ("candidate_id", rf"(?<![{LATIN}/.-])(?:c-\d+|c(?!4(?!\d))\d+)(?![{LATIN}/]|[.:-]\d)"),
    ("other_id", rf"(?<![{LATIN}/.-])[tm]-\d+(?![{LATIN}/]|[.:-]\d)"),
    ("run_id", rf"(?:{'|'.join(ADJECTIVES)})-(?:{'|'.join(NOUNS)})-\d+(?![{LATIN}])"),
    ("nm", rf"(?<![{LATIN}.,:])\d+:\d+(?![{LATIN}:])"),
    ("expression", rf"{_OPERAND}(?:{_SIGN}{_OPERAND})(?:(?:{_SIGN}|/){_OPERAND})*|[a-z_]+\([a-z_0-9(), .*+-]+\)"),
    ("expression", rf"(?<![{LATIN}])-(?:{'|'.join(ALLOCATION.terminals)})(?![{LATIN}])"),
    ("path", rf"(?:\.{{1,2}}|~[\w-]*)?/{_PATH}*|\.{{1,2}}(?![{LATIN}.])"),
    (
        "path",
        rf"[{LATIN}.-]+(?:/[{LATIN}.-]+)+/?|(?<![{LATIN}/.-])[{LATIN}.-]+/(?!\S)|[{LATIN}.-]+\.(?:{_ENDING})(?![{LATIN}])",
    ),
    ("times", rf"(?<![{LATIN}.,])[-]?\d+(?:[.,]\d+)?\s*[x×](?![{LATIN}])"),
)
_REST: tuple[tuple[str, str], ...] = (
    ("elided", rf"(?<![{LATIN}])(?:l|d|qu|n|s|j|c|m|t)'(?=[{LATIN}])"),
    ("number", rf"(?<![{LATIN}.,])[-+]?(?:\d{{1,3}}(?:,\d{{3}})+(?![\d,])|\d*[.,]?\d+)(?![{LATIN}]|[.,]\d)"),
    ("number", r"(?<![\w.,])\d+(?=(?:mins?|minutes?|h|hrs?|hours?|pct)(?![A-Za-z]))"),
    ("word", rf"[{LATIN}](?:[{LATIN}.+'-]*[{LATIN}])?"),
    ("word", r"\S"),
)


_TIED = r"(?<=[a-z])-(?=(?:le|la|les|moi|toi|nous|lui)\b)"
"""The hyphen of a French imperative: exporte-le."""


@dataclass(frozen=True)
class Token:
    """A piece of a line: its kind, which is a concept or the type of a value, how it was written, and the value."""

    kind: str
    text: str
    value: Any = None


@cache
def _scanner(first: bool) -> tuple[re.Pattern[str], list[str]]:
    """The shapes that are looked for before phrases, or after them."""
    shapes = _SHAPES if first else _REST
    pattern = "|".join(f"(?P<g{index}>{shape})" for index, (_, shape) in enumerate(shapes))
    return re.compile(pattern, re.I), [kind for kind, _ in shapes]


def _shape(low: str, place: int, first: bool) -> tuple[str, int]:
    """The kind of what has a shape at a place, and its end; no kind where nothing has."""
    pattern, kinds = _scanner(first)
    match = pattern.match(low, place)
    return ("", place) if match is None else (kinds[int(str(match.lastgroup)[1:])], match.end())


def tokens(line: str, code: str) -> list[Token]:
    """The tokens of a line in a language."""
    about = language(code)
    low, found, place = folded(line), [], 0
    low = re.sub(_TIED, " ", low) if code == "fr" else low
    while place < len(line):
        kind, end = _shape(low, place, True)
        phrase = "" if kind not in ("", "expression") else about.phrase(low, place)
        if phrase and place + len(phrase) >= (end if kind else 0):  # `width+depth` is no formula
            kind, end = "phrase", place + len(phrase)
        elif not kind:
            kind, end = _shape(low, place, False)
        if kind == "path":
            end -= _trailing(line[place:end])
        found += _token(kind, line[place:end], about) if kind else []
        place = max(end, place + 1)
    while found and found[-1].kind == "comma":
        found.pop()
    return found


def _trailing(path: str) -> int:
    """How many signs at the end of a path are the sentence's."""
    return len(path) - max(len(path.rstrip(".:)")), min(2, len(path)))


def _token(kind: str, text: str, about: Language) -> list[Token]:
    if kind == "phrase":
        concept, _, value = about.concepts[plain(text)].partition("/")
        return [Token(concept, text, value or None)]
    if text in ";:.!":
        return [Token("comma", text)]
    return [] if text in "()-…¡¿" else [_typed(kind, text.strip())]


def _typed(kind: str, text: str) -> Token:
    match kind:
        case "quoted":
            return Token(kind, text, text[1:-1].strip())
        case "candidate_id":
            return Token(kind, text, "c-" + re.sub(r"\D", "", text))
        case "number":
            return Token(kind, text, number(text))
        case "times":
            return Token(kind, text, number(text.rstrip("x× X")))
        case "run_id":
            return Token(kind, text, text.lower())
        case "word" if text.lower() in SAMPLES:
            return Token("model", text, text)
        case "word" if re.search(r"\d", text) and re.search("[A-Za-z]", text):
            return Token("quantisation" if re.fullmatch(_QUANTISED, text, re.I) else "name", text, text)
        case _:
            return Token(kind, text, text)


_QUANTISED = r"i?q\d(?:_[0-9a-z]+)*|bf16|f16|f32|fp16"


def number(text: str) -> float:
    """As it is written, with a comma for thousands or for decimals."""
    plain = text.replace("+", "")
    thousands = re.fullmatch(r"-?[1-9]\d{0,2}(?:,\d{3})+", plain)
    return float(plain.replace(",", "" if thousands else "."))


ALONE = frozenset({"para"})
"""Words that mean `stop` where nothing else is said, and something else in a sentence."""


def heard(line: str) -> tuple[str, list[Token]]:
    """The language in which most of a line is known, and its tokens."""
    if plain(line.strip("¡!.… ")) in ALONE:
        return "es", [Token("stop", line)]
    read = [(code, tokens(line, code)) for code in CODES]
    return min(read, key=lambda one: sum(_foreign(token) for token in one[1]))


def _foreign(token: Token) -> int:
    return len(token.text) if token.kind == "word" else 0
