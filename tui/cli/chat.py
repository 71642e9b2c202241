"""`secateur chat`: prune in conversation, in plain lines."""

from __future__ import annotations

import queue
import sys
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from runs.plain import plain
from tui.cli.options import MACHINE, takes

if TYPE_CHECKING:
    from agent.session.settings import Settings
    from agent.session.talk.conversation import Talk
    from runs.events import Event
    from runs.run import Run
    from tui.text.ending import Step

PROMPT = "› "
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
    from agent.session.talk.speaker import speaker
    from agent.session.talk.tools.help import HELP
    from tui.text.ending import meant

    settings.use_threads()
    lines = _Lines()
    talk = Talk(settings, lambda run: lines.carry(run, talk), model=model, yes=yes)
    talk.speaker = speaker(settings, talk.session)
    print(HELP if run is None else plain(talk.say(f"resume {run}")))
    talk.session.hear = heard = _Heard()
    while not talk.over and (line := lines.next(MODELS if talk.to_models else PROMPT)) is not None:
        if line.strip():
            said = line if talk.asks or talk.to_models else meant(line, _next(talk.run))
            print(plain(heard.rest(talk.say(said))))
    talk.session.leave_models()


class _Heard:
    """Prints what models say as they say it."""

    def __init__(self) -> None:
        self._text = ""

    def __call__(self, piece: str) -> None:
        self._text += piece
        print(plain(piece), end="", flush=True)

    def rest(self, reply: str) -> str:
        """What of a reply was not printed yet; all of it, on a line of its own, where it is not what was heard."""
        heard, self._text = self._text, ""
        if reply.startswith(heard):
            return reply[len(heard) :]
        return f"\n{reply}"


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

    def carry(self, run: Run, talk: Talk) -> str:
        """Work on a run, shown as it goes; a terminal's lines are answered beside it. Returns its table."""
        from agent.session.start import carry_out
        from tui.text.comparison import comparison
        from tui.text.ending import numbered
        from tui.text.plain import Plain

        with Plain() as printer:
            printer.recall(run.journal.read())

            def listen(event: Event) -> None:
                printer(event)
                while self._terminal and not self._typed.empty():
                    line = self._typed.get()
                    if line is None:
                        self._typed.put(None)  # the end is for `next`
                        break
                    if line.strip():
                        printer.line(plain(talk.say_beside(run, line)))

            found = carry_out(run, listen)
            return "\n".join([comparison(found, run), *([numbered(more)] if (more := _next(run)) else [])])
