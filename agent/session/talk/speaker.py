"""From the settings to who answers: the designer's language model where it has one, else the grammar."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from agent.designers.choose import chat_model, check
from agent.llm.connection import CallFormat, Connection, formats_of
from agent.llm.prices import price_of
from agent.session.endpoints import served, weights
from agent.session.settings import Settings
from agent.session.talk.graph import Speaker
from agent.session.talk.session import Session
from agent.session.talk.small import Small
from agent.session.talk.speakers import Model, Rules
from runs.designers import designers_of
from runs.events import Answered, Event, Note, Spoke
from runs.fold.history import History
from runs.goal import Goal

PATIENCE = 20.0
"""Seconds until a model in conversation begins to answer, and between the pieces of its answer."""
LONGEST = 60.0
"""Seconds for an answer that goes on."""
ATTEMPTS = 2
_SIZES = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)([bm])(?![a-z])", re.I)
_FEW = 4.0
"""Billions of weights."""
TOKENS = 2048
"""Tokens of one answer, thinking included."""
FEW_TOKENS = 256
"""Those of a small model, which goes on for as long as it may."""


THERE = "OPENAI_BASE_URL names a server of language models, and no designer was chosen"


class Ears:
    """Hands what a model says to the screen; the words themselves are in the conversation's thread."""

    def __init__(self, session: Session) -> None:
        self.history = History()
        self.ledger = self.history.ledger
        self._session = session
        self._call = ""
        self._thought = ""

    def __call__(self, event: Event) -> None:
        """Pieces of speech are heard at once, thoughts once they are whole, notes are lines of their own; nothing else
        is kept."""
        match event:
            case Spoke(thinking=True):
                self._thought += event.text
            case Spoke():
                self._think()
                apart = "\n" if self._call not in ("", event.call) else ""
                self._call = event.call
                self._session.hear(apart + event.text)
            case Answered():
                self._think()
            case Note():
                self._session.note(event.text)

    def _think(self) -> None:
        if self._thought.strip():
            self._session.think(self._thought)
        self._thought = ""


class Notes(Ears):
    """Hears notes alone: what is said are calls."""

    def __call__(self, event: Event) -> None:
        """Only what a person has to know."""
        if isinstance(event, Note):
            super().__call__(event)


class Announced(Rules):
    """The rules, and once in a conversation the word that a language model is there and was not chosen."""

    def __init__(self, base: str) -> None:
        self._base = base

    def answer(self, messages: Sequence[BaseMessage], session: Session) -> AIMessage:
        """What the rules say, with the word below it unless it was said."""
        found = super().answer(messages, session)
        if found.tool_calls or any(THERE in message.text for message in messages if isinstance(message, AIMessage)):
            return found
        models = served(self._base)
        name = models[0] if models else "NAME"
        more = "" if models is not None else "; nothing answers there just now"
        return AIMessage(f'{found.text}\n({THERE}{more}: "use openai:{name}" has it design and talk.)')


def _small(name: str) -> bool:
    """Whether a model can choose among few tools only: those on this machine, and those of up to 4 B by what their
    server says, or else by their name."""
    if name.startswith(("local:", "self")):
        return True
    kind, _, model = name.partition(":")
    base = os.environ.get("OPENAI_BASE_URL")
    told = weights(base, model) if kind == "openai" and base else None
    named = [float(size) / (1000 if unit in "mM" else 1) for size, unit in _SIZES.findall(model)]
    return max(named, default=99.0) <= _FEW if told is None else told <= _FEW * 1e9


def speaker(settings: Settings, session: Session) -> Speaker:
    """Who answers: whom the person named here, else whom the settings name; of an ensemble its first member, and the
    next one where that cannot be used.

    Raises:
        UsageError: the designer is not known, or what it needs is not there.
    """
    name = session.designer or settings.values.designer
    if ":" not in name or name.startswith("replay:"):
        base, chosen = os.environ.get("OPENAI_BASE_URL"), settings.sources["designer"] != "default"
        return Announced(base) if base and not chosen else Rules()
    check(name)
    found: Model | Small | None = None
    for member in reversed(designers_of(name)):
        small = _small(member)
        found = _answering(_connection(member, settings, session, small=small), session, found, small=small)
    assert found is not None
    return found


def warmed(settings: Settings, session: Session) -> Speaker:
    """Who answers, reading what can be read before the first line comes; see `speaker`."""
    found = speaker(settings, session)
    if isinstance(found, Small):
        found.warm()
    return found


def _answering(
    connection: Connection, session: Session, otherwise: Model | Small | None, *, small: bool
) -> Model | Small:
    """A model that answers, and who does where it cannot be used."""
    name = connection.name
    if not small:  # under a schema it could not speak
        spoken: list[CallFormat] = [kind for kind in formats_of(name) if kind is not CallFormat.SCHEMA]
        return Model(replace(connection, formats=spoken, words=True), otherwise)
    exact: Any = connection.model
    if exact is not None and "temperature" in type(exact).model_fields:
        exact = exact.model_copy(update={"temperature": 0.0})  # a call is read from the line, not made up
    held: list[CallFormat] = [
        kind for kind in formats_of(name) if kind is not CallFormat.NATIVE or not name.startswith("openai:")
    ]
    quiet = replace(connection, model=exact, record=Notes(session), formats=held, longest=None)
    return Small(quiet, connection, otherwise)


def _connection(name: str, settings: Settings, session: Session, *, small: bool) -> Connection:
    goal = Goal(model=session.home_model or "-", sparsity=0.5, designer=name)
    model = chat_model(goal, settings.home, FEW_TOKENS if small else TOKENS)
    return Connection(
        name,
        model,
        Ears(session),
        price_of(name, settings.home),
        patience=PATIENCE,
        longest=LONGEST,
        attempts=ATTEMPTS,
        every=0.0,
        stopped=session.stopped.is_set,
    )
