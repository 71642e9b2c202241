"""The journal: events appended to a file, one JSON line each.

A line counts once its newline is written. A writer that was killed leaves at most one torn line without a newline;
readers do not see it and the next writer cuts it off. So an event either happened or did not, at whatever byte the
writer died. Writers lock the file for the moment of a write, so several processes may append to one file (the inbox).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_json

from runs.events import Event, Progress, Unreadable
from runs.secrets import scrub_fields
from tools.io.errors import SecateurError
from tools.io.lock import locked

_UNKNOWN_KIND = ("union_tag_invalid", "union_tag_not_found")
_CHUNK = 1 << 16
_HEAD = 80
"""Bytes of a line that hold its time and its kind."""
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def encode(value: BaseModel) -> bytes:
    """One line of JSON without its newline; infinite numbers become strings, which `decode` reads back."""
    return to_json(value.model_dump(), inf_nan_mode="strings")


def decode(line: bytes) -> Event:
    """The event of one line.

    Raises:
        ValidationError: the line is no event; the type of its first error tells an unknown kind from damage.
    """
    return _EVENT.validate_json(line)


class Journal:
    """An append-only file of events."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: Event) -> Event:
        """Write one event and wait until it is on the disk; when this returns, the event has happened.

        Returns:
            The event as it was written, without secrets.

        Raises:
            SecateurError: the file cannot be written; what was there before is still whole.
        """
        found = event.model_dump()
        if (clean := scrub_fields(found)) != found:
            event = type(event).model_validate(clean)
        line = encode(event) + b"\n"
        try:
            with locked(self.path, os.O_APPEND) as file:
                end = _cut_torn_line(file)
                try:
                    _write_all(file, line)
                    # A lost progress line costs nothing and there are many: only the others wait for the disk.
                    if not isinstance(event, Progress):
                        os.fsync(file)
                except OSError:
                    os.ftruncate(file, end)
                    raise
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise SecateurError(f"{self.path}: cannot be written ({reason}). Make room or give access.") from error
        return event

    def read(self) -> list[Event]:
        """All events, oldest first; none when the file does not exist yet."""
        return list(self.since(0)[0])

    def follow(self, *, until: Callable[[], bool], poll: float = 0.2) -> Iterator[Event]:
        """Yield the events that are there and then new ones as they come, looking every `poll` seconds.

        Ends when `until` says that nobody writes any more and everything was yielded.
        """
        offset = 0
        while True:
            over = until()  # asked before reading, so that the last events of a writer that just left are not missed
            events, offset = self.since(offset)
            yield from events
            if over:
                return
            time.sleep(poll)

    def since(self, offset: int, *, settled: bool = False) -> tuple[list[Event], int]:
        """Events of the complete lines after byte `offset`, and where those lines end.

        A line that stands twice, time and all, was copied and happened once. Damaged lines are left out and told of in
        an event of their own.

        Args:
            settled: leave out what later lines say again: questions and pieces of speech whose answer is there,
                progress that was passed. They are most of a long journal.

        Raises:
            SecateurError: the file cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                data = file.read()
        except FileNotFoundError:
            return [], offset
        except OSError as error:
            raise SecateurError(f"{self.path}: cannot be read ({error.strerror or error})") from error
        complete = data[: data.rfind(b"\n") + 1]
        lines = list(dict.fromkeys(complete.split(b"\n")[:-1]))
        return _events(_settled(lines) if settled else lines, self.path.name), offset + len(complete)


def _events(lines: Iterable[bytes], name: str) -> list[Event]:
    """The events of lines, with an `Unreadable` in the place of the first that is damaged."""
    events: list[Event] = []
    problems: list[str] = []
    gap = 0
    for line in lines:
        try:
            events.append(decode(line))
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            if problem["type"] not in _UNKNOWN_KIND:
                gap = gap if problems else len(events)
                problems.append(problem["msg"])
    if problems:
        what = "1 line" if len(problems) == 1 else f"{len(problems)} lines"
        text = f"{name}: {what} cannot be read and what they said is lost ({problems[0]})"
        beside = events[max(0, gap - 1) : gap + 1]  # no time of its own, which the budget would be charged with
        events.insert(gap, Unreadable(text=text, at=beside[0].at) if beside else Unreadable(text=text))
    return events


def _settled(lines: list[bytes]) -> list[bytes]:
    """Without questions and speech that were answered and progress that was passed.

    The kind is told by the line's beginning.
    """
    kept, answered, passed = [], False, False
    for line in reversed(lines):
        head = line[:_HEAD]
        if b'"spoke"' in head or b'"asked"' in head:
            if answered:
                continue
        elif b'"progress"' in head:
            if passed:
                continue
            passed = True
        elif b'"answered"' in head:
            answered = True
        kept.append(line)
    return kept[::-1]


def _cut_torn_line(file: int) -> int:
    """Cut off what follows the last newline; returns the size that is left."""
    size = os.fstat(file).st_size
    end = size
    while end > 0:
        start = max(0, end - _CHUNK)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(file, end)
    return end


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
