"""Words of several languages and what they mean here: a file for each language, `concept = phrase | phrase`."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

FOLDER = Path(__file__).parent / "languages"
LATIN = "0-9A-Za-z_\u00c0-\u024f\u0400-\u04ff"
"""What words are made of where spaces part them; elsewhere a word may begin anywhere."""
CODES = ("en", "de", "fr", "es", "it", "pt", "ru", "zh", "ja", "nl", "pl", "tr", "ko")


@dataclass(frozen=True)
class Language:
    """The phrases of one language, with the names that all share."""

    code: str
    concepts: dict[str, str]
    """Phrase, as `plain` has it -> concept, or kind/value."""
    begins: dict[str, list[str]]
    """First letter -> phrases, the longest first."""

    def phrase(self, low: str, place: int) -> str:
        """The longest phrase at a place of a folded line; empty where none is."""
        for phrase in self.begins.get(low[place], ()):
            end = place + len(phrase)
            if plain(low[place:end]) == phrase and _whole(low, place, end):
                return phrase
        return ""


def _whole(low: str, start: int, end: int) -> bool:
    """Whether what stands there is not a part of a longer word or name."""
    before, after = low[max(0, start - 2) : start], low[end : end + 2]
    if _LETTER.match(low[start]) and re.search(rf"[{LATIN}][-.]?$", before):
        return False
    return not (_LETTER.match(low[end - 1]) and re.match(rf"[{LATIN}]|[-./:][{LATIN}]", after))


_LETTER = re.compile(f"[{LATIN}]")


def folded(text: str) -> str:
    """Lower case without accents of Latin letters, each letter at its place."""
    return "".join(_folded(letter) for letter in text)


def _folded(letter: str) -> str:
    base = unicodedata.normalize("NFKD", letter)[0] if "\u00c0" <= letter <= "\u024f" else letter
    low = base.lower()
    return low if len(low) == 1 else base


@lru_cache(4096)
def plain(phrase: str) -> str:
    """A phrase as it is looked up: folded, and with a space for hyphens and underscores."""
    return re.sub(r"[\s_-]+", " ", folded(phrase)).strip()


def written(text: str) -> str:
    """A line in one writing: full-width digits, curly quotes and odd spaces become plain ones."""
    text = unicodedata.normalize("NFKC", text)
    text = re.sub(r"[\u2018\u2019\u201b\u00b4]", "'", text)
    text = re.sub(r"[\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d]", '"', text)
    text = re.sub(r"^/(?=(?:help|stop|pause|quit|exit|bye)$)", "", text.strip(), flags=re.I)
    text = text.replace("\u2212", "-").replace("\u3001", ",").replace("\u3002", ".")
    text = re.sub(r"(?<=\d)-(?=mal|fach|fold|percent|minute|hour|candidate|block)", " ", text)
    return " ".join(text.split())


@cache
def language(code: str) -> Language:
    """Read from its file, once."""
    concepts = {**entries("common"), **entries(code)}
    begins: dict[str, list[str]] = {}
    for phrase in sorted(concepts, key=len, reverse=True):
        begins.setdefault(phrase[0], []).append(phrase)
    return Language(code, concepts, begins)


def entries(name: str) -> dict[str, str]:
    """Phrase -> concept, of one file.

    Raises:
        ValueError: a phrase is there twice.
    """
    found: dict[str, str] = {}
    for line in (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        concept, _, phrases = line.partition(" = ")
        for phrase in phrases.split(" | "):
            if found.setdefault(plain(phrase), concept.strip()) != concept.strip():
                raise ValueError(f"{name}.txt: {phrase} is {found[plain(phrase)]} and {concept}")
    return found
