"""Workers that are processes on this machine, one for each device.

Each is a pool of one process, so that one that dies breaks nothing but itself.
"""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.connection import Connection

from runs.candidate import Candidate
from runs.workers import Outcome
from runs.workers.results import Results
from runs.workers.worker import Builder, Worker

_seat: Worker
"""In a worker: its seat."""


class Processes:
    """Starts processes."""

    deaths: tuple[type[Exception], ...] = (BrokenProcessPool,)

    def start(self, builder: Builder, results: Results) -> _Process:
        """A process of its own, which dies with the engine."""
        return _Process(builder, results)

    def close(self) -> None:
        """Nothing outlives the workers."""


class _Process:
    """A process that lives as long as this object keeps its end of a pipe: until `stop`, or until the engine dies."""

    def __init__(self, builder: Builder, results: Results) -> None:
        # A forked process could not use CUDA, and would inherit the locks of threads it does not have.
        context = get_context("spawn")
        theirs, self._lifeline = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(
            1, mp_context=context, initializer=_enter, initargs=(theirs, Worker(builder, results))
        )

    def open(self) -> Future[str]:
        return self._pool.submit(_open)

    def measure(self, candidate: Candidate, tokens: int) -> Future[Outcome | str]:
        return self._pool.submit(_measure, candidate, tokens)

    def stop(self) -> None:
        self._lifeline.close()
        self._pool.shutdown(wait=True, cancel_futures=True)


def _enter(lifeline: Connection, seat: Worker) -> None:
    global _seat
    _seat = seat
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches the whole group; the engine decides
    threading.Thread(target=_die_with_engine, args=(lifeline,), daemon=True).start()


def _die_with_engine(lifeline: Connection) -> None:
    try:
        lifeline.recv_bytes()
    except EOFError:
        os._exit(0)


def _open() -> str:
    return _seat.open()


def _measure(candidate: Candidate, tokens: int) -> Outcome | str:
    return _seat.measure(candidate, tokens)
