"""A terminal in memory: a command runs under a pseudo-terminal and what it draws can be read, typed to and timed.

It behaves like a plain xterm that answers no questions: programs must do without synchronised output, the kitty
keyboard protocol and in-band resizes, as over an old connection. It relies on Linux and its rules for terminals.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import queue
import re
import signal
import struct
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pyte

KEYS = {
    "enter": "\r",
    "escape": "\x1b",
    "tab": "\t",
    "shift+tab": "\x1b[Z",
    "backspace": "\x7f",
    "up": "\x1b[A",
    "down": "\x1b[B",
    "right": "\x1b[C",
    "left": "\x1b[D",
    "home": "\x1b[H",
    "end": "\x1b[F",
    "pageup": "\x1b[5~",
    "pagedown": "\x1b[6~",
    "f1": "\x1bOP",
}
"""What an xterm sends for a key; `ctrl+` and a letter is computed."""

ALTERNATE_SCREEN = 1049

# What pyte takes for something else, or prints: private questions and settings (kitty's keyboard, xterm's modifiers),
# colons between parameters, intermediate characters (mode queries), and strings for the terminal itself.
_FOREIGN = re.compile(
    rb"\x1b\[(?:[<=>][0-?]*[ -/]*[@-~]|\?[0-?]*[ -/]*[@-gi-km-~]|[0-9;]*:[0-?]*[ -/]*[@-~]|[0-?]*[ -/]+[@-~])"
    rb"|\x1b[P_^X].*?(?:\x1b\\|\x07)",
    re.DOTALL,
)
_UNFINISHED = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|[P_^X][^\x1b\x07]*\x1b?)?\Z")


class Display(pyte.Screen):
    """A screen with an alternate one, which pyte does not know, and a bell that counts."""

    def __init__(self, columns: int, lines: int) -> None:
        super().__init__(columns, lines)
        self.rung = 0
        self._kept: dict[int, dict[int, Any]] | None = None

    @property
    def alternate(self) -> bool:
        """Whether a full-screen program has the terminal."""
        return self._kept is not None

    def bell(self, *_: Any) -> None:
        self.rung += 1

    def set_mode(self, *modes: int, **flags: Any) -> None:
        super().set_mode(*modes, **flags)
        if flags.get("private") and ALTERNATE_SCREEN in modes and self._kept is None:
            self._kept = {y: dict(line) for y, line in self.buffer.items()}
            self.save_cursor()
            self.erase_in_display(2)

    def reset_mode(self, *modes: int, **flags: Any) -> None:
        super().reset_mode(*modes, **flags)
        if flags.get("private") and ALTERNATE_SCREEN in modes and self._kept is not None:
            self.buffer.clear()
            for y, line in self._kept.items():
                self.buffer[y].update(line)
            self._kept = None
            self.restore_cursor()

    def row(self, y: int) -> str:
        """One line as text, without the blanks at its end."""
        line = self.buffer[y]
        return "".join(line[x].data for x in range(self.columns)).rstrip()

    def rows(self) -> list[str]:
        return [self.row(y) for y in range(self.lines)]


class Terminal:
    """A command at work on a terminal of its own; a context manager that ends it.

    Args:
        command: the program and its arguments.
        size: columns and lines.
        environment: variables beside those of this process.
    """

    def __init__(
        self, command: Sequence[str], *, size: tuple[int, int] = (80, 24), environment: Mapping[str, str] | None = None
    ) -> None:
        self._display = Display(*size)
        self._stream = pyte.ByteStream(self._display)
        self._changed = threading.Condition()
        self._pieces: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        self._arrived = 0.0
        self._seen = 0.0
        self._awaited: Callable[[Display], object] | None = None
        self._ended = False
        self._code: int | None = None
        self._master, slave = pty.openpty()
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self.started = time.perf_counter()
        """When the command was started, on the clock of `time.perf_counter`."""
        self.pid = _spawn(command, os.ttyname(slave), _environment(environment or {}))
        os.close(slave)  # so that the end of the last program on the terminal is the end of what can be read
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._draw)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def screen(self) -> list[str]:
        """The lines, without the blanks at their ends."""
        with self._changed:
            return self._display.rows()

    @property
    def text(self) -> str:
        return "\n".join(self.screen)

    @property
    def alternate(self) -> bool:
        """Whether a full-screen program has the terminal; afterwards the lines from before are there again."""
        with self._changed:
            return self._display.alternate

    @property
    def cursor_hidden(self) -> bool:
        with self._changed:
            return self._display.cursor.hidden

    @property
    def rung(self) -> int:
        """How often the bell rang."""
        with self._changed:
            return self._display.rung

    @property
    def cpu_seconds(self) -> float:
        """Processor time of the command itself, without the processes that it started."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        user, system = int(fields[11]), int(fields[12])
        return (user + system) / os.sysconf("SC_CLK_TCK")

    def type(self, text: str) -> float:
        """Send text as if it were typed; returns when, on the clock of `time.perf_counter`."""
        sent = time.perf_counter()
        data = text.encode()
        while data:
            data = data[os.write(self._master, data) :]
        return sent

    def press(self, *keys: str) -> float:
        """Send keys: names of `KEYS`, or `ctrl+` and a letter. Programs wait some 0.1 s for what follows an Escape."""
        return self.type("".join(_sequence(key) for key in keys))

    def wait_for(self, wanted: str | re.Pattern[str], timeout: float = 60.0) -> float:
        """Wait until a text or a pattern is on the screen; returns the seconds that it took from now.

        Raises:
            AssertionError: it did not come in time, or the command ended; the message shows the screen.
        """
        pattern = wanted if isinstance(wanted, re.Pattern) else re.compile(re.escape(wanted))
        begun = time.perf_counter()
        named = f'"{wanted.pattern if isinstance(wanted, re.Pattern) else wanted}"'
        seen = self.wait_until(lambda display: pattern.search("\n".join(display.rows())), timeout, named)
        return max(0.0, seen - begun)

    def wait_until(self, condition: Callable[[Display], object], timeout: float = 60.0, what: str = "it") -> float:
        """Wait until `condition`, which is called `what` in messages, holds of the display.

        Returns:
            When the bytes arrived that made it true, on the clock of `time.perf_counter`: what the emulation costs is
            not the program's.

        Raises:
            AssertionError: it did not come in time, or the command ended; the message shows the screen.
        """
        with self._changed:
            if condition(self._display):
                return self._arrived
            self._awaited = condition
            over = self._changed.wait_for(lambda: self._awaited is None or self._ended, timeout)
            seen, self._awaited = self._awaited is None, None
            if not seen:
                reason = "never came: the command ended" if over else f"did not come within {timeout:g} s"
                raise AssertionError(self._report(f"{what} {reason}"))
            return self._seen

    def wait(self, timeout: float = 60.0) -> int:
        """Wait until the command has ended and all that it wrote is on the screen; returns its exit code.

        Raises:
            AssertionError: it did not end in time, or a process that it left behind holds the terminal.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended, timeout):
                raise AssertionError(self._report(f"the terminal was not given back within {timeout:g} s"))
        while (code := self._reap()) is None:
            if time.monotonic() > deadline:
                raise AssertionError(self._report(f"the command did not end within {timeout:g} s"))
            time.sleep(0.01)
        return code

    def close(self) -> None:
        """End the command and what else is in its process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        while self._reap() is None:
            time.sleep(0.005)
        for thread in self._threads:
            thread.join(timeout=5)
        # A process in a group of its own may still hold the terminal: then the reader is in the middle of a read.
        if self._master >= 0 and not any(thread.is_alive() for thread in self._threads):
            os.close(self._master)
            self._master = -1

    def _reap(self) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def _read(self) -> None:
        """Take what comes off the terminal, with the time, so that drawing it delays no time stamp."""
        while True:
            try:
                data = os.read(self._master, 1 << 16)
            except OSError:  # Linux says so when the last program has left the terminal
                data = b""
            self._pieces.put((time.perf_counter(), data))
            if not data:
                return

    def _draw(self) -> None:
        """Draw what was read; an escape sequence that is cut in two waits for its other half."""
        rest = b""
        while True:
            arrived, data = self._pieces.get()
            whole = _FOREIGN.sub(b"", rest + data)
            unfinished = _UNFINISHED.search(whole)
            cut = unfinished.start() if unfinished and data else len(whole)
            whole, rest = whole[:cut], whole[cut:]
            with self._changed:
                self._stream.feed(whole)
                self._arrived, self._ended = arrived, not data
                # Looked at here, as whoever waits would not get its turn before all that came meanwhile is drawn.
                if self._awaited is not None and self._awaited(self._display):
                    self._awaited, self._seen = None, arrived
                self._changed.notify_all()
            if not data:
                return

    def _report(self, problem: str) -> str:
        edge = "─" * self._display.columns
        return "\n".join([problem, edge, *self._display.rows(), edge])


def _spawn(command: Sequence[str], terminal: str, environment: Mapping[str, str]) -> int:
    """Start a command in a session of its own: the terminal that such a process opens first becomes the session's."""
    actions = [(os.POSIX_SPAWN_OPEN, 0, terminal, os.O_RDWR, 0), *((os.POSIX_SPAWN_DUP2, 0, fd) for fd in (1, 2))]
    # A shell without job control starts background jobs with the signal ignored, and that is inherited.
    return os.posix_spawnp(
        command[0],
        list(command),
        environment,
        file_actions=actions,
        setsid=True,
        setsigdef=[signal.SIGINT, signal.SIGHUP],
    )


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """That of this process without what would overrule the terminal's size and abilities."""
    own = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    return own | {"TERM": "xterm-256color", "COLORTERM": "truecolor"} | dict(more)


def _sequence(key: str) -> str:
    if key in KEYS:
        return KEYS[key]
    modifier, _, letter = key.partition("+")
    if modifier == "ctrl" and len(letter) == 1 and letter.isalpha():
        return chr(ord(letter.lower()) & 0x1F)
    raise ValueError(f'"{key}" is not known: keys are {", ".join(KEYS)} and ctrl+ with a letter')
