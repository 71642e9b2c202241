"""Talking to the models themselves: for one question, or until the person comes back."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from agent.session.exchange import Exchange
from agent.session.talk.session import BrokenOff, Session
from agent.session.talk.tools.measure import MODELS
from agent.session.talk.tools.subjects import called, memory, priced, subjects, writing
from agent.session.talk.tools.tool import Group, SessionTool
from tools.io.errors import UsageError

NEW = 256
"""Tokens of an answer at most, where nobody says how many."""
BACK = '"back" returns'


class ChatWithModels(SessionTool):
    """Let the person talk to the pruned model, with the model that it came from beside it: their lines go to the models
    from then on, until they say back. With a question, the models answer that one and the conversation goes on here."""

    group: ClassVar[Group] = "measure"

    question: str = Field(default="", max_length=2000, description="In the person's words; empty for a chat.")
    models: tuple[str, ...] = MODELS
    new: int | None = Field(default=None, ge=1, le=1024, description="Tokens of an answer at most.")

    def plan(self, session: Session) -> str:
        """What is loaded and held, and how long an answer takes."""
        if session.beside:
            raise UsageError("The models can be talked to when the run is over; its work has all cores now.")
        session.private = True
        models = subjects(session, self.models)
        asked = "answer one question" if self.question else "are loaded and stay so; an answer of each has"
        length = f"{asked} with" if self.question else asked
        doing = f"{self._who(session, models)} {length} at most {self.new or NEW} tokens"
        return priced(session, doing, models, self.new or NEW, writing, together=True)

    def work(self, session: Session) -> str:
        """Load them; put the question to them, or let the person talk to them from now on."""
        models = subjects(session, self.models)
        session.private = True
        session.leave_models()
        exchange = self._exchange(session, models)
        if not self.question:
            return self._enter(session, models, exchange)
        try:
            exchange.opened(session.stopped.is_set)
            return exchange.say(self.question, session.hear, session.stopped.is_set)
        except KeyboardInterrupt:
            raise BrokenOff from None
        finally:
            exchange.close()

    def _enter(self, session: Session, models: list[str], exchange: Exchange) -> str:
        try:
            chats = exchange.opened(session.stopped.is_set)
        except BaseException as error:
            exchange.close()
            if isinstance(error, KeyboardInterrupt):
                raise BrokenOff from None
            raise
        session.exchange = exchange
        plain = [name for name, chat in zip(exchange.names, chats, strict=True) if not chat]
        note = f"{' and '.join(plain)}: no chat template, so what you say is a text to be continued.\n" if plain else ""
        held = memory(session, models)
        return (
            f"You talk to {self._who(session, models)} now, greedily decoded, at most {self.new or NEW} tokens an "
            f"answer{f'; {held}' if held else ''}.\n{note}Every line goes to them and nowhere else; {BACK}."
        )

    def _exchange(self, session: Session, models: list[str]) -> Exchange:
        against = [part for other in models[1:] for part in ("--against", other)]
        more = ["--new", str(self.new or NEW), "--home", str(session.settings.home)]
        return Exchange([models[0], *against, *more, *session.machine], [called(session, model) for model in models])

    def _who(self, session: Session, models: list[str]) -> str:
        return " and ".join(called(session, model) for model in models)
