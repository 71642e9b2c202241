"""Numbers in an answer that stand in nothing that was found or said.

A language model's answer is evidence of nothing. What it quotes must stand in a result of a tool of this conversation,
in the journal, or in what the person said; the rest is marked, so that nobody takes it for a measurement.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

MARK = "(?)"
FOOTNOTE = f"{MARK} stands in nothing that was measured or said here."

_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.,:/-])[-+−]?(?:\d{1,3}(?:[,\u202f\u00a0 ]\d{3})+|\d+)(?:[.,]\d+)?(?:e[-+]?\d+)?(?!:\d)|[½¼¾⅓⅔⅛]",
    re.I,
)
_NAME = re.compile(r"(?<![A-Za-z0-9_])[A-Za-z_][A-Za-z0-9_]*(?:[-./:][A-Za-z0-9_]+)*")
_EVERYDAY = re.compile(
    r"int[48]|fp(4|8|16|32)|bf16|b?float(16|32)|c4|wikitext-?2|gpt-?2|q\d_[k01](_[sml])?|[ah][12]00|utf-8|sha256|top-1|l[12]"
)
"""Names with digits that are no quantity."""
_ANY_NUMBER = re.compile(r"\d{1,3}(?:[,\u202f\u00a0 ]\d{3})+(?:\.\d+)?|\d+(?:[.,]\d+)?(?:e[-+]?\d+)?|[½¼¾⅓⅔⅛]", re.I)
_WORDS = (
    "eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|"
    "seventy|eighty|ninety|hundred|thousand|million|billion"
)
_SPELLED = re.compile(rf"\b(?:{_WORDS})(?:[- ](?:one|two|three|four|five|six|seven|eight|nine))?\b", re.I)
_ENUMERATION = re.compile(r"(?m)^\s*\d{1,2}[.)]\s")
SIGNIFICANT = 1e-9


def marked(answer: str, sources: Iterable[str]) -> str:
    """The answer with a mark behind every number without a source, and a line below that says what the mark means."""
    told = list(sources)
    known = [number for text in told for number in _numbers(text)]
    words = {word.group().lower() for text in told for word in _SPELLED.finditer(text)}
    skipped = [found.span() for found in _ENUMERATION.finditer(answer)]
    holes = [found.end() for found in _NUMBER.finditer(answer) if not _known(found.group(), known, found, skipped)]
    held = "\n".join(told).lower()
    holes += [found.end() for found in _NAME.finditer(answer) if not _named(found.group().lower(), held)]
    holes += [found.end() for found in _SPELLED.finditer(answer) if found.group().lower() not in words]
    if not holes:
        return answer
    for place in sorted(set(holes), reverse=True):
        answer = f"{answer[:place]} {MARK}{answer[place:]}"
    return f"{answer}\n{FOOTNOTE}"


def _named(name: str, held: str) -> bool:
    """Whether a name with digits, or an id, stands in what was found, or is none of a thing measured."""
    return not any(sign.isdecimal() for sign in name) or _EVERYDAY.fullmatch(name) is not None or name in held


def _known(text: str, known: list[float], found: re.Match[str], skipped: list[tuple[int, int]]) -> bool:
    if any(start <= found.start() < end for start, end in skipped):
        return True
    return any(_quotes(text, value) for value in known)


def _quotes(text: str, value: float) -> bool:
    """Whether a number as it is written is that value, rounded to as many places as are written; a share may be quoted
    in per cent and the other way round."""
    written, places = _read(text)
    tolerance = 0.5 * 10.0**-places * (1 + SIGNIFICANT)
    scales = (1.0, 100.0, 0.01) if places and abs(written) < 1 else (1.0, 100.0)
    return any(abs(abs(written) - abs(value) * scale) <= tolerance for scale in scales)


def _numbers(text: str) -> Iterator[float]:
    for found in _ANY_NUMBER.finditer(text):
        yield _read(found.group())[0]


_FRACTIONS = {"½": 0.5, "¼": 0.25, "¾": 0.75, "⅓": 1 / 3, "⅔": 2 / 3, "⅛": 0.125}


def _read(text: str) -> tuple[float, int]:
    """The value, and how many decimal places are written."""
    if text in _FRACTIONS:
        return _FRACTIONS[text], 2
    plain = re.sub(r"[\u202f\u00a0 ]", "", text).replace("−", "-").lower()
    if re.fullmatch(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?", plain):
        plain = plain.replace(",", "")
    plain = plain.replace(",", ".")
    mantissa, _, exponent = plain.partition("e")
    places = len(mantissa.partition(".")[2]) - int(exponent or 0)
    return float(plain), places
