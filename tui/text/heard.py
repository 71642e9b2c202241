"""An answer while it comes, in plain lines: its words where somebody watches, a dim line for every use of a tool."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rich.console import Console

from agent.session.talk.session import Session, Use
from runs.plain import plain
from tui.text.thought import LABEL, folded


class Heard:
    """Listens to a conversation; words go to stdout, as they are its answer, uses of tools to stderr.

    On a terminal words are shown as they come, and a tool while it works; elsewhere the answer is printed when it is
    whole, and a tool when it has ended.
    """

    def __init__(self, session: Session) -> None:
        session.hear, session.use = self._hear, self._show
        session.note, session.think = self._note, self._thought
        self._streams, self._live = sys.stdout.isatty(), sys.stderr.isatty()
        self._told = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._said = ""
        self._inside = ""
        """What the line that is not at its end yet holds: `words`, `tool`, or nothing."""
        self._anew = True
        """Whether the next words begin a part of the answer."""
        self.elsewhere: Callable[[str], None] | None = None
        """Takes the lines while something else draws on the terminal."""

    def _hear(self, piece: str) -> None:
        if not self._streams or self.elsewhere is not None:
            return
        if self._inside == "tool":
            self.end_line()
        text = plain(piece.lstrip() if self._anew else piece)
        print(text, end="", flush=True)
        self._said += text
        self._inside = "" if text.endswith("\n") else "words"
        self._anew = self._anew and not text

    def _show(self, use: Use) -> None:
        line = plain(str(use))
        if self.elsewhere is not None:
            if use.seconds is not None:
                self.elsewhere(line)
        elif use.seconds is None and self._live:
            self.end_line()
            self._told.print(line, style="dim", end="")
            self._inside = "tool"
        elif use.seconds is not None:
            begun = plain(str(Use(use.call)))
            rest = line.removeprefix(begun) if self._inside == "tool" else line
            if self._inside == "words":
                self.end_line()
            self._told.print(rest, style="dim")
            self._inside, self._anew = "", True

    def _note(self, text: str) -> None:
        if self.elsewhere is not None:
            self.elsewhere(plain(text))
            return
        self.end_line()
        self._told.print(plain(text), style="dim")

    def _thought(self, text: str) -> None:
        """What a model thought before it answered: one line."""
        self._note(f"{LABEL}  {folded(text, self._told.width - len(LABEL) - 2)}")

    def end_line(self) -> None:
        """What is printed next begins a line."""
        if self._inside:
            print(file=sys.stderr if self._inside == "tool" else sys.stdout, flush=True)
        self._said += "\n" if self._inside == "words" else ""
        self._inside, self._anew = "", True

    def answered(self, answer: str) -> str:
        """What of the whole answer was not seen as it came, such as a plan, or a line with a mark at a number."""
        self.end_line()
        seen, self._said = [line.strip() for line in self._said.splitlines()], ""
        rest: list[str] = []
        for line in plain(answer).splitlines():
            if line.strip() in seen:
                seen.remove(line.strip())
            else:
                rest.append(line)
        return "\n".join(rest)
