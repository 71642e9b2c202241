"""What a conversation is about and what its tools work with: settings, the run, the model, and who works on it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agent.session.exchange import Exchange
from agent.session.settings import Settings
from runs.fold.history import History
from runs.run import Run, Status
from runs.used import use_line
from tools.io.errors import SecateurError

Carry = Callable[[Run], str]
"""Works on a run, or lets it be worked on; returns what to say of it. Raises KeyboardInterrupt where the person breaks
it off."""
POLL = 0.1
"""Seconds between looks at a child process."""
BROKEN_OFF = 130
"""The exit status of a command that was interrupted."""
HOMELESS = ("export",)
"""Commands that look at a folder and at no home."""


class BrokenOff(SecateurError):
    """The person said stop while something was under way."""

    def __init__(self) -> None:
        super().__init__("stopped; nothing half-done is left behind")


def _unheard(piece: str) -> None:
    pass


@dataclass(frozen=True)
class Use:
    """A use of a tool in a conversation, told when it begins and again when it has ended."""

    call: str
    """As a person would write it."""
    result: str = ""
    """Id of what it found, as m-3, where that is kept."""
    seconds: float | None = None
    """What it took; None while it works."""

    def __str__(self) -> str:
        return use_line(self.call, self.seconds, "" if self.seconds is None else self.result)


def _unseen(use: Use) -> None:
    pass


@dataclass
class Session:
    """The state of one conversation beside its messages; lives as long as the process."""

    settings: Settings
    carry: Carry
    model: str = ""
    """The model that is talked about, where no run is."""
    run: Run | None = None
    yes: bool = False
    """Whether nothing is asked before it is done."""
    allowed: set[str] = field(default_factory=set)
    """Tools that the person does not want to be asked about again."""
    hear: Callable[[str], None] = _unheard
    """Takes an answer in pieces, as a language model says it."""
    note: Callable[[str], None] = _unheard
    """Takes what is to be known of the model that answers, such as that it is asked again."""
    use: Callable[[Use], None] = _unseen
    """Takes every use of a tool, as it begins and as it has ended."""
    think: Callable[[str], None] = _unheard
    """Takes what a language model thought before an answer, where its server sends that."""
    beside: bool = False
    """Whether this very process works on the run while the person speaks."""
    unfinished: tuple[str, dict[str, Any]] | None = None
    """A tool, and what was said of it that still lacks something; the next words complete it."""
    waits: dict[str, Any] | None = None
    """What was said of the prune whose plan waits for a yes; the next words may change it."""
    plan: str = ""
    """The plan that waits for a yes, as it was shown; empty where none does."""
    waiting: tuple[str, ...] = ()
    """What that plan would do, in words."""
    behind: bool = False
    """Whether what was asked for last is to follow what waits: "and then export it"."""
    ahead: bool = False
    """Whether what was asked for last comes before what waits: "evaluate it first"."""
    queue: tuple[str, ...] = ()
    """What is to follow the plan or the run at work, in words; whoever takes something out takes that back."""
    asides: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Calls of tools that were asked for while this very process worked on a run, which follow it."""
    exchange: Exchange | None = None
    """The models that the person talks to; their lines go there until they say back."""
    private: bool = False
    """Whether what was said last was for the models: no run keeps it."""
    designer: str = ""
    """Who designs the next run, where the person said so here; empty: whom the settings name."""
    answered_by: Callable[[str], None] = _unheard
    """Has another designer answer from the next line on, where that is a language model."""
    over: bool = False
    """Whether the person said goodbye."""
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set by whoever wants that what is under way ends: a call of a model, a child process."""

    @property
    def home_model(self) -> str:
        """The model that is meant where none is named: that of the run, else the one that is talked about."""
        return self.model if self.run is None else self.run.goal.model

    def trusts(self, tool: str) -> bool:
        """Whether a tool is used without asking."""
        return self.yes or tool in self.allowed

    def worked(self, run: Run) -> str:
        """Have the run carried out."""
        self.run = run
        try:
            return self.carry(run)
        except KeyboardInterrupt:
            return f'Interrupted. "resume {run.id}" goes on where it stopped.'

    @property
    def working(self) -> bool:
        """Whether an engine works on the run that is talked about."""
        return self.run is not None and (self.beside or self.run.engine is not None)

    @property
    def unfinished_run(self) -> bool:
        """Whether there is a run that has not come to its end, be it that its engine only begins."""
        return self.run is not None and self.run.status() is not Status.FINISHED

    def history(self) -> History:
        """What the run has come to; empty without a run."""
        return History() if self.run is None else History.of(self.run.journal.read())

    def present(self) -> Run:
        """The run that is talked about.

        Raises:
            SecateurError: there is none.
        """
        if self.run is None:
            raise SecateurError('No run is open: "prune MODEL to 50 %" starts one, "which runs are there?" lists them')
        return self.run

    def leave_models(self) -> None:
        """The models that were talked to are let go."""
        if self.exchange is not None:
            self.exchange.close()
            self.exchange = None

    def command(self, *arguments: str, also: int = 0) -> Any:
        """What a command of `secateur` prints with --json, run in a process of its own so that the screen stays free.

        Args:
            also: an exit status with which it has an answer, too.

        Raises:
            SecateurError: it failed; the line is its own.
            BrokenOff: it was stopped.
        """
        home = [] if arguments[0] in HOMELESS else ["--home", str(self.settings.home)]
        code, said, problems = self._child([*arguments, *home, "--json"])
        if code == BROKEN_OFF or (code and self.stopped.is_set()):
            raise BrokenOff
        if code and not (code == also and said.strip()):
            lines = [line for line in problems.splitlines() if line.startswith("secateur: ")]
            raise SecateurError(lines[-1].removeprefix("secateur: ") if lines else f"{arguments[0]} did not succeed")
        return json.loads(said)

    def _child(self, arguments: list[str]) -> tuple[int, str, str]:
        """Exit status, output and complaints of a process of its own."""
        with subprocess.Popen(
            [sys.executable, "-m", "secateur", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            said, problems = self._ended(child)
        return child.returncode, said, problems

    def _ended(self, child: subprocess.Popen[str]) -> tuple[str, str]:
        while True:
            try:
                return child.communicate(timeout=POLL)
            except subprocess.TimeoutExpired:
                if self.stopped.is_set():
                    child.terminate()
                    return child.communicate()
            except KeyboardInterrupt:
                child.terminate()
                child.communicate()
                raise

    @property
    def machine(self) -> list[str]:
        """Settings that a child process does not find by itself."""
        values = self.settings.values
        given = {"--dtype": values.dtype, "--device": values.device, "--threads": values.threads}
        return [part for name, value in given.items() if value is not None for part in (name, str(value))]
