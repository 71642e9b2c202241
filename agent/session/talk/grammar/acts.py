"""What a sentence can ask for. An act is read only where it accounts for every word that means something.

A sentence is what it names: an act needs some concepts and allows some more. Word order and language do not matter,
and what is left over is never passed over in silence: then the act is not what was said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.session.talk.grammar.tokens import Token

FREE = frozenset(
    [
        "filler",
        "just",
        "to",
        "by",
        "at",
        "with",
        "on",
        "as",
        "in",
        "and",
        "comma",
        "kindly",
        "a",
        "elided",
        "greeting",
        "thanks",
    ]
)
"""Words that change nothing by themselves."""
ASKS = "what which how aux ask about tell show explain"
"""What questions are made of, as the allowance of an act that answers one."""
CUTS = ("and", "comma")
"""Where a request of a line may end."""
REFS = ("model", "name", "path", "run_id", "quoted")
"""Kinds of tokens that may name a model, or a place."""
MODEL = frozenset({"model", "network", "modell", "modele", "modèle", "modelo", "modello", "模型", "モデル"})


class Unclear(Exception):
    """An act is meant, but a part of it cannot be."""


class Lacking(Unclear):
    """What follows upon an order lacks a word, so that it cannot be done; the order can."""


class Twofold(Exception):
    """It can be meant in two ways, so that no other reading of the line is tried."""


@dataclass(frozen=True)
class Call:
    """A tool by its name, with arguments that are still to be validated."""

    name: str
    args: dict[str, Any] = field(default_factory=dict)


class Heard:
    """The tokens of one request, as its act reads them."""

    def __init__(self, tokens: Sequence[Token], text: str = "", unfinished: bool = False) -> None:
        self.tokens = list(tokens)
        self.text = text
        self.unfinished = unfinished
        """Whether the person was asked for what an order lacks."""
        self.kinds = {token.kind for token in tokens}

    def has(self, *kinds: str) -> bool:
        """Whether something of any of these kinds was said."""
        return not self.kinds.isdisjoint(kinds)

    def all(self, *kinds: str) -> list[Any]:
        """The values of these kinds, in order, each once."""
        return list(dict.fromkeys(token.value for token in self.tokens if token.kind in kinds))

    def one(self, *kinds: str) -> Any:
        """The only value of these kinds, or None.

        Raises:
            Unclear: there are several.
        """
        found = self.all(*kinds)
        if len(found) > 1:
            said = dict.fromkeys(token.text for token in self.tokens if token.kind in kinds)
            raise Unclear(f"{' and '.join(said)} at once; say them one after the other")
        return found[0] if found else None

    def before(self, place: int) -> str | None:
        """The kind of the token before a place; `the model` is passed over, other articles go with other things."""
        while place > 0 and self.tokens[place - 1].text.lower() in MODEL:
            place -= 1 + (place > 1 and self.tokens[place - 2].kind == "filler")
        return self.tokens[place - 1].kind if place > 0 else None

    def unused(self, call: Call) -> list[Token]:
        """Names and unknown words that stand in no argument, and so would be passed over."""
        if call.name in ("explain", "memory_need"):  # they allow names where they make no difference, or are numbers
            return []
        told = str(list(call.args.values())).lower()
        return [one for one in self.tokens if one.kind in (*REFS, "word") and str(one.value).lower() not in told]


@dataclass(frozen=True)
class Act:
    """One way to ask for a tool."""

    needs: tuple[str, ...]
    """Each is kinds of which one must be said, with | between them."""
    may: str
    """Kinds that may be said as well."""
    make: Callable[[Heard], Call | None]
    """The call; None where it is not meant after all."""
    order: bool = False
    """Whether it does something, which a question never asks for, unless it is a polite one."""

    def met(self, heard: Heard) -> bool:
        """Whether what it needs was said."""
        return all(heard.has(*need.split("|")) for need in self.needs)

    def left(self, heard: Heard) -> list[Token]:
        """The tokens that it does not account for."""
        known = FREE | {kind for need in self.needs for kind in need.split("|")} | set(self.may.split())
        if self.order and heard.has("kindly"):
            known |= {"ask"}
        return [token for token in heard.tokens if token.kind not in known]


def share(value: float | None) -> float | None:
    """A share that can be meant.

    Raises:
        Unclear: it is nothing, everything or more.
    """
    if value is not None and not 0 < value < 1:
        raise Unclear(f"{100 * value:g} % is no share of a model: it must be more than 0 % and less than 100 %")
    return value


def times(value: float | None) -> float | None:
    """How many times faster.

    Raises:
        Unclear: that is not faster.
    """
    if value is not None and value <= 1:
        raise Unclear(f"{value:g} times as fast is not faster: it must be more than 1, for example 1.4")
    return value


def positive(value: float | None, what: str) -> float | None:
    """An amount of something.

    Raises:
        Unclear: there is none of it.
    """
    if value is not None and value <= 0:
        raise Unclear(f"{value:g} {what}: it must be more than 0")
    return value


def count(value: float | None, what: str) -> int | None:
    """A whole number of something.

    Raises:
        Unclear: it is none, or below one.
    """
    if value is not None and (value < 1 or value != int(value)):
        raise Unclear(f"{value:g} {what}: it must be a whole number from 1")
    return None if value is None else int(value)


def model(heard: Heard, *verbs: str) -> str:
    """The model that is named, empty where none is; an unknown word is one right behind one of the verbs.

    Raises:
        Unclear: there are several.
    """
    named = heard.one(*REFS)
    return str(named) if named else next((token.text for token in objects(heard, *verbs)), "")


def objects(heard: Heard, *verbs: str) -> list[Token]:
    """The unknown word that stands right behind one of the verbs, as a list of at most one."""
    for place, token in enumerate(heard.tokens):
        if token.kind == "word" and token.text[:1].isalpha() and not token.text.endswith("ly"):
            return [token] if heard.before(place) in verbs else []
    return []


def is_text(name: str) -> bool:
    """Whether a path is one of a text."""
    return name.endswith((".txt", ".jsonl"))


def texts(heard: Heard) -> list[str]:
    """The texts that are named, files among them."""
    return [*heard.all("text"), *(str(one) for one in heard.all("path") if is_text(str(one)))]


def designers(heard: Heard) -> str:
    """The designer that is named; several are an ensemble."""
    return ",".join(map(str, heard.all("designer")))


def some(**arguments: Any) -> dict[str, Any]:
    """The arguments that were said."""
    return {name: value for name, value in arguments.items() if value not in (None, "", (), False)}
