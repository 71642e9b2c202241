"""Models that a person talks to: held loaded by a process of its own, which ends with this one.

What is said to them goes nowhere else: no designer hears it, and no run keeps it.
"""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Any

from tools.io.errors import SecateurError

POLL = 0.1
"""Seconds between looks at whether the person wants it to stop."""
LETS_GO = 5.0
"""Seconds in which the process ends by itself."""
BACK = frozenset({"back", "/back", "zurück", "retour", "atrás", "indietro", "voltar", "назад", "返回", "戻る"})
"""What ends a talk to the models."""
DIED = "the process that held the models has ended"


class Exchange:
    """A process that answers lines."""

    def __init__(self, arguments: Sequence[str], names: Sequence[str]) -> None:
        """`arguments`: of `secateur ask`. `names`: how the models are called here."""
        self.names = list(names)
        self._problems: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 (as long as the child)
        self._child = subprocess.Popen(
            [sys.executable, "-m", "secateur", "ask", *arguments, "--json"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._problems,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # a terminal's Ctrl+C is for this program, which tells the child
        )
        self._told: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._told.put(json.loads(line))
        self._told.put(None)

    def opened(self, stopped: Callable[[], bool]) -> list[bool]:
        """Wait until the models are loaded; returns whether each has a chat template.

        Raises:
            SecateurError: one cannot be loaded; the line is its own.
            KeyboardInterrupt: the person does not want to wait.
        """
        while True:
            try:
                found = self._told.get(timeout=POLL)
            except queue.Empty:
                if stopped():
                    raise KeyboardInterrupt from None
                continue
            if found is None:
                raise SecateurError(self._complaint())
            return [bool(model["chats"]) for model in found["ready"]]

    def say(self, line: str, hear: Callable[[str], None], stopped: Callable[[], bool]) -> str:
        """Put a line to the models; `hear` gets the answers in pieces. What is broken off is told as far as it came.

        Raises:
            SecateurError: the process has ended.
        """
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(" ".join(line.split()) + "\n")
            self._child.stdin.flush()
        except OSError as error:
            raise SecateurError(self._complaint()) from error
        answers, broken = _Answers(self.names, hear), False
        while True:
            try:
                found = self._told.get(timeout=POLL)
                if found is None:
                    raise SecateurError(self._complaint())
                if found.get("end"):
                    return answers.text
                answers.take(found)
            except queue.Empty:
                if broken:  # it came before the line was read
                    self._break_off()
            except KeyboardInterrupt:
                broken = True
                self._break_off()
            if stopped() and not broken:
                broken = True
                self._break_off()

    def _break_off(self) -> None:
        self._child.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Let the models go."""
        self._child.terminate()
        try:
            self._child.wait(LETS_GO)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stdin is not None:
            self._child.stdin.close()
        self._problems.close()

    def _complaint(self) -> str:
        self._problems.seek(0)
        lines = [line for line in self._problems.read().splitlines() if line.startswith("secateur: ")]
        return lines[-1].removeprefix("secateur: ") if lines else DIED


@dataclass
class _Answers:
    """What the models said to one line, one below the other."""

    names: list[str]
    hear: Callable[[str], None]
    text: str = ""
    _who: int = -1
    _begun: bool = False
    """Whether the one that answers has said a word."""

    def take(self, found: dict[str, Any]) -> None:
        """An event of the process."""
        if found["of"] != self._who:
            self._who, self._begun = found["of"], False
            self._add(("\n\n" if self.text else "") + f"{self.names[self._who]}: ")
        if "piece" in found:
            piece = found["piece"] if self._begun else found["piece"].lstrip()
            self._begun = self._begun or bool(piece)
            self._add(piece)
        elif "problem" in found:
            self._add(f"({found['problem']})")
        else:
            note = _footnote(found)
            self._add(note if self._begun else note.lstrip())

    def _add(self, piece: str) -> None:
        self.text += piece
        self.hear(piece)


def _footnote(found: dict[str, Any]) -> str:
    """What must be known of an answer beside its words."""
    notes = [] if found["text"] or found["stopped"] else ["said nothing"]
    notes += ["stopped"] if found["stopped"] else []
    lost = found["forgotten"]
    notes += [f"your oldest {'line' if lost == 1 else f'{lost} lines'} did not fit any more"] if lost else []
    return f" ({'; '.join(notes)})" if notes else ""


def returns(text: str) -> bool:
    """Whether a line ends a talk to the models."""
    return text.strip().lower().rstrip(".!") in BACK
