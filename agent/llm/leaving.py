"""A stream that can be left: whoever waits for a model is never held by it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tools.io.errors import SecateurError

T = TypeVar("T")
LOOK = 0.05
"""Seconds between looks whether to leave."""


class Left(SecateurError):
    """Nobody waits for the answer any more."""


class Stopped(Left):
    """The person said stop: nothing follows."""


class CutOff(SecateurError):
    """An answer was left after some of it was said, which is kept."""

    def __init__(self, said: str, why: str) -> None:
        super().__init__(f"cut off: {why}")
        self.said, self.why = said, why


def leaving(
    stream: Iterable[T], patience: float, stopped: Callable[[], bool], longest: float | None = None
) -> Iterator[T]:
    """The items of a stream as they come, read in a thread of its own.

    Args:
        patience: seconds for the whole stream, or, where there is a `longest`, until the next item.
        stopped: asked while nothing comes; true leaves the stream, whose thread then ends with its next item.
        longest: seconds for a stream that goes on.

    Raises:
        Stopped: it was stopped.
        Left: it took too long.
        Exception: whatever the stream raised.
    """
    items: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue()
    gone = threading.Event()

    def read() -> None:
        try:
            for item in stream:
                if gone.is_set():
                    break
                items.put((item, None))
            items.put((None, StopIteration()))
        except BaseException as error:  # it is raised where somebody waits
            items.put((None, error))

    threading.Thread(target=read, daemon=True).start()
    start = time.monotonic()
    end, most, began = start + patience, max(patience, longest or 0.0), False
    try:
        while True:
            if stopped():
                raise Stopped("stopped")
            if (now := time.monotonic()) > end:
                raise Left(f"cut off after {now - start:.0f} s" if began else f"no answer within {patience:.0f} s")
            try:
                item, error = items.get(timeout=LOOK)
            except queue.Empty:
                continue
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            if longest is not None:
                end = min(time.monotonic() + patience, start + most)
            began = True
            yield item  # type: ignore[misc]  # None is only beside an error
    finally:
        gone.set()
