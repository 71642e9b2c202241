"""What the calls of one run share: the model, where it is recorded, what it costs, how it is asked to call tools."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import StrEnum

from langchain_core.language_models import BaseChatModel

from agent.llm.prices import Price
from agent.llm.speech import LONGEST_SECONDS
from agent.llm.turns import Turns
from agent.recorder import Records
from runs.events import Answered, Note


def formats_of(name: str) -> list[CallFormat]:
    """The formats to try with a model of that name, in order: servers of the OpenAI protocol hold to a schema, too."""
    schema = [CallFormat.SCHEMA] if name.startswith("openai:") else []
    return [CallFormat.NATIVE, *schema, CallFormat.TEXT]


def never() -> bool:
    """Nobody leaves."""
    return False


class CallFormat(StrEnum):
    """How a model is asked to call tools."""

    NATIVE = "tool calls"
    SCHEMA = "JSON by schema"
    """Structured output: the server holds the answer to the schema of one call."""
    TEXT = "JSON in text"


@dataclass
class Connection:
    """To one model, for as long as a run is at work."""

    name: str
    model: BaseChatModel | None
    """None: only what the journal answers is answered."""
    record: Records
    price: Price | None
    known: Mapping[str, Answered] = field(default_factory=dict)
    """Answers of another run that is replayed."""
    formats: list[CallFormat] = field(default_factory=lambda: [CallFormat.NATIVE, CallFormat.TEXT])
    """How tools are called; the first is tried, and dropped for good where the model cannot do it."""
    words: bool = False
    """Whether an answer may be words where tools are on the table, as in a talk."""
    patience: float = LONGEST_SECONDS
    """Seconds for one answer, or, where there is a `longest`, until its next piece."""
    longest: float | None = None
    """Seconds for an answer that goes on, as a talk has them: what was said is kept where it is cut off."""
    every: float | None = None
    """Seconds between the pieces in which an answer is recorded while it is spoken; None: as a journal has them."""
    attempts: int = 4
    """How often a question is put where the server fails."""
    stopped: Callable[[], bool] = never
    """Whether nobody waits for an answer any more; asked while one is under way."""
    turns: Turns | None = None
    """Whose turn it is, where several conversations are held at once."""
    guesses: int = 0
    """Answers whose tokens nobody counted."""
    silent: int = 0
    """Answers in a row without a native call, while that is the format."""

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """US dollars, as far as the price is known."""
        return self.price.of(tokens_in, tokens_out) if self.price else 0.0

    @property
    def hosted(self) -> bool:
        """Whether a server answers, which can answer several calls at once."""
        return self.model is not None and not self.name.startswith(("self", "local:"))

    def turn(self) -> AbstractContextManager[None]:
        """Open while one does anything but wait."""
        return nullcontext() if self.turns is None else self.turns.held()

    def waiting(self) -> AbstractContextManager[None]:
        """Open while one waits for the model."""
        return nullcontext() if self.turns is None else self.turns.given_up()

    def plainer(self, why: str) -> None:
        """Go on to the next format of calls."""
        gone = self.formats.pop(0)
        self.record(Note(text=f"{self.name} {why}: asked for {self.formats[0]} instead of {gone}"))

    def guessed(self) -> None:
        """Say it once: limits and prices are held all the same, by characters."""
        self.guesses += 1
        if self.guesses == 1:
            self.record(Note(text=f"{self.name} does not say how many tokens an answer took: judged by its length"))

    def heard(self, *, native: bool, text: bool) -> None:
        """Who writes its calls as text, or none at all twice, is held to a schema where there is one."""
        self.silent = 0 if native else self.silent + 1
        if self.formats[:2] == [CallFormat.NATIVE, CallFormat.SCHEMA] and not native and (text or self.silent > 1):
            self.plainer("wrote a call as text" if text else "called no tool")
