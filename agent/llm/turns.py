"""Several conversations with models at the same time, of which one at a time does anything but wait for its model.

What a conversation works with (the bench, the journal, its listeners) knows no threads. So everything is done in turns:
whoever waits for an answer gives its turn up, and takes it again before it goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


class Turns:
    """Whose turn it is, and whether all shall leave."""

    def __init__(self) -> None:
        self._turn = threading.Lock()  # no RLock: an agent may go on in another thread than it began in
        self._leave = threading.Event()

    @contextmanager
    def held(self) -> Iterator[None]:
        """While open, it is one's turn."""
        with self._turn:
            yield

    @contextmanager
    def given_up(self) -> Iterator[None]:
        """While open, it is the others' turn: within `held`, for waiting."""
        self._turn.release()
        try:
            yield
        finally:
            self._turn.acquire()

    def leaves(self, stopped: Callable[[], bool]) -> Callable[[], bool]:
        """The same question, for who waits: also true where the others have to leave."""

        def asked() -> bool:
            if self._leave.is_set():
                return True
            with self._turn:
                return stopped()

        return asked

    def all(self, work: Sequence[Callable[[], None]]) -> None:
        """Do all of it at once, each in a thread of its own, to the end.

        Raises:
            BaseException: the first that one of them raised, or KeyboardInterrupt; the others have left by then.
        """
        problems: list[BaseException] = []

        def carry(one: Callable[[], None]) -> None:
            try:
                one()
            except BaseException as problem:  # it is raised where somebody waits
                problems.append(problem)
                self._leave.set()

        threads = [threading.Thread(target=carry, args=(one,), daemon=True) for one in work]
        for thread in threads:
            thread.start()
        try:
            self._join(threads)
        finally:
            self._leave.clear()
        if problems:
            raise problems[0]

    def _join(self, threads: Sequence[threading.Thread]) -> None:
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            self._leave.set()
            for thread in threads:
                thread.join()
            raise
