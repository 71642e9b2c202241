"""`secateur ask`: talk to a model, or to two beside each other."""

from __future__ import annotations

import json as encoding
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runs.plain import plain
from tools.io.errors import SecateurError
from tui.cli.options import MACHINE, Json, Model, takes
from tui.cli.shell import complain

if TYPE_CHECKING:
    from agent.session.settings import Settings
    from tools.measure.replies import Listener, Reply

PROMPT = "› "


@takes("model", "against", "new", "json", *MACHINE)
def ask(
    model: Model,
    settings: Settings,
    against: Annotated[
        str | None, typer.Option("--against", metavar="MODEL", help="Put every line to this model, too.")
    ] = None,
    new: Annotated[int, typer.Option("--new", metavar="L", min=1, help="Tokens of an answer at most.")] = 256,
    json: Json = False,
) -> None:
    """Talk to a model, or to two: each line of the input is answered by each, with what was said before in mind.

    Ctrl+C breaks an answer off; the end of the input leaves.
    """
    from tools.measure.replies import Listener

    names = [model] if against is None else [model, against]
    listeners = [Listener(settings.opened(name), new) for name in names]
    shown: _Shown = _Events() if json else _Shown()
    shown.ready(listeners)
    interrupt = _Interrupt(leave=not json)
    for line in _lines(prompted=not json and sys.stdin.isatty()):
        with interrupt:
            for index, listener in enumerate(listeners):
                _answer(index, listener, line, shown, interrupt)
        shown.end()


def _answer(index: int, listener: Listener, line: str, shown: _Shown, interrupt: _Interrupt) -> None:
    try:
        shown.begin(listener.model.name)
        reply = listener.reply(line, lambda piece: shown.piece(index, piece), interrupt.came.is_set)
    except SecateurError as error:
        shown.problem(index, str(error))
    else:
        shown.reply(index, reply)


def _lines(*, prompted: bool) -> Iterator[str]:
    while True:
        if prompted:
            print(PROMPT, end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


class _Interrupt:
    """SIGINT during an answer breaks it off. Between answers it leaves, unless another program talks: that one sent it
    a moment too late."""

    def __init__(self, *, leave: bool) -> None:
        self.came = threading.Event()
        self._answering, self._leave = False, leave
        signal.signal(signal.SIGINT, self._take)

    def _take(self, *_: Any) -> None:
        self.came.set()
        if self._leave and not self._answering:
            raise KeyboardInterrupt

    def __enter__(self) -> None:
        self.came.clear()
        self._answering = True

    def __exit__(self, *_: object) -> None:
        self._answering = False


class _Shown:
    """Answers for people: below the name of the model, as they are written."""

    def ready(self, listeners: list[Listener]) -> None:
        """Say of every model that is loaded how it is talked to."""
        for listener in listeners:
            how = "" if listener.chats else "; it has no chat template, so it continues what is said"
            print(f"{plain(listener.model.name)} listens{how}", file=sys.stderr)

    def begin(self, name: str) -> None:
        """A model begins."""
        print(f"{plain(name)}: ", end="", flush=True)

    def piece(self, index: int, piece: str) -> None:
        """Some words of its answer."""
        print(plain(piece), end="", flush=True)

    def reply(self, index: int, reply: Reply) -> None:
        """It is done."""
        print(" …(stopped)" if reply.stopped else "")

    def problem(self, index: int, text: str) -> None:
        """It cannot answer."""
        print()
        complain(text)

    def end(self) -> None:
        """All have answered."""


class _Events(_Shown):
    """The same for programs: one JSON object a line, so that they hear it as it is said."""

    def ready(self, listeners: list[Listener]) -> None:
        self._tell(ready=[{"model": listener.model.name, "chats": listener.chats} for listener in listeners])

    def begin(self, name: str) -> None:
        pass

    def piece(self, index: int, piece: str) -> None:
        if piece:
            self._tell(of=index, piece=piece)

    def reply(self, index: int, reply: Reply) -> None:
        more = {"tokens": reply.tokens, "seconds": round(reply.seconds, 3)}
        self._tell(of=index, text=reply.text, forgotten=reply.forgotten, stopped=reply.stopped, **more)

    def problem(self, index: int, text: str) -> None:
        self._tell(of=index, problem=text)

    def end(self) -> None:
        self._tell(end=True)

    def _tell(self, **fact: Any) -> None:
        print(encoding.dumps(fact), flush=True)
