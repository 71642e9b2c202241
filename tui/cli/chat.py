"""`secateur chat`: prune in conversation, in plain lines."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from runs.plain import plain
from tui.cli.options import MACHINE, takes
from tui.cli.shell import complain

if TYPE_CHECKING:
    from agent.session.settings import Settings
    from agent.session.talk.conversation import Talk
    from runs.run import Run
    from tui.text.ending import Step
    from tui.text.heard import Heard
    from tui.text.plain import Plain

PROMPT = "› "
LOOK = 0.1
"""Seconds between looks whether a run has ended, for whoever waits for a line."""
MODELS = "models › "
"""Where lines go to the models."""


@takes(
    *("model", "run", "designer", "yes", "candidates", "calibration", "windows", "length", *MACHINE),
    designer="As in prune.",
    candidates="As in prune.",
)
def chat(
    settings: Settings,
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help="The model that is talked about.")] = "",
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help="Take up the conversation of a run.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before something long starts.")] = False,
) -> None:
    """Prune in conversation: say what you want, ask why, go on, export."""
    from agent.session.talk.conversation import Talk
    from agent.session.talk.speaker import warmed
    from agent.session.talk.tools.help import HELP
    from tui.text.ending import meant
    from tui.text.heard import Heard

    settings.use_threads()
    lines = _Lines()
    talk = Talk(settings, lambda run: lines.carry(run, talk), model=model, yes=yes)
    talk.speaker = warmed(settings, talk.session)
    lines.heard = Heard(talk.session)
    for gone in talk.gone:
        complain(gone)
    lines.answer(HELP if run is None else talk.say(f"resume {run}"))
    if plan := talk.plan:
        lines.answer(f"{plan}\nThis still waits: start? yes or no")
    while not talk.over and (line := lines.next(MODELS if talk.to_models else PROMPT)) is not None:
        if line.strip():
            lines.answer(talk.say(line if talk.asks or talk.to_models else meant(line, _next(talk.run))))
            if talk.later and not talk.session.unfinished_run:
                lines.answer(talk.go_on())
    talk.session.leave_models()


def _next(run: Run | None) -> list[Step]:
    """What can be done with a run that came to its end."""
    if run is None or (history := run.history()).state != "finished":
        return []
    from runs.fold.summary import summary
    from tui.text.ending import steps

    return steps(summary(history))


class _Lines:
    """Lines from stdin, read beside the work: what is typed during a run goes to its inbox."""

    def __init__(self) -> None:
        self._typed: queue.Queue[str | None] = queue.Queue()
        self.heard: Heard | None = None
        """Shows what comes of an answer before it is whole."""
        self._terminal = sys.stdin.isatty()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            self._typed.put(line.rstrip("\n"))
        self._typed.put(None)

    def next(self, prompt: str) -> str | None:
        """The next line; None at the end of the input. Ctrl+C leaves."""
        if self._terminal:
            print(prompt, end="", flush=True)
        try:
            return self._typed.get()
        except KeyboardInterrupt:
            return None

    def answer(self, text: str) -> None:
        """Print an answer, as far as it was not seen as it came."""
        if rest := plain(text) if self.heard is None else self.heard.answered(text):
            print(rest)

    @contextmanager
    def _drawn_by(self, printer: Plain) -> Iterator[None]:
        """Have lines that are heard meanwhile go through what draws the run."""
        if (heard := self.heard) is None:
            yield
            return
        heard.end_line()
        heard.elsewhere = lambda line: printer.line(line, style="dim")
        try:
            yield
        finally:
            heard.elsewhere = None

    def carry(self, run: Run, talk: Talk) -> str:
        """Work on a run, shown as it goes; a terminal's lines are answered beside it. Returns its table."""
        from agent.session.start import carry_out
        from tui.text.comparison import comparison
        from tui.text.ending import numbered
        from tui.text.plain import Plain

        with Plain() as printer, self._drawn_by(printer):
            printer.recall(run.journal.read())
            ended = threading.Event()
            beside = threading.Thread(target=self._answer_beside, args=(run, talk, printer, ended), daemon=True)
            beside.start()
            try:
                found = carry_out(run, printer)
            finally:
                ended.set()
                beside.join()
            return "\n".join([comparison(found, run), *([numbered(more)] if (more := _next(run)) else [])])

    def _answer_beside(self, run: Run, talk: Talk, printer: Plain, ended: threading.Event) -> None:
        """Answer what is typed on a terminal while a run works, at once, whatever it is measuring."""
        while self._terminal and not ended.is_set():
            try:
                line = self._typed.get(timeout=LOOK)
            except queue.Empty:
                continue
            if line is None:
                self._typed.put(None)  # the end is for `next`
                return
            if line.strip():
                printer.line(plain(talk.say_beside(run, line)))
