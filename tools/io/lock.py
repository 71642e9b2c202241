"""File locks between processes; a lock that is waited for, and one that tells who holds it, by pid and host.

The lock is the kernel's (`flock`), so it is gone the moment its holder dies; the file stays, as removing it would let
two processes hold two locks. Not by the package filelock: asking whether a lock is held is an attempt to take it there,
so that two who ask at once take each other for the holder, and some of its versions empty the file that says who is.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_POLL = 0.02


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock; pid 0 when it has not written itself down yet."""

    pid: int
    host: str


class Locked(Exception):
    """Somebody else holds the lock."""

    def __init__(self, holder: Holder) -> None:
        super().__init__(f"held by pid {holder.pid} on host {holder.host}")
        self.holder = holder


@contextmanager
def locked(path: Path, flags: int = 0) -> Iterator[int]:
    """Hold an exclusive lock on `path` as soon as it is free; yields the descriptor, for reading and writing.

    Args:
        flags: how else the file is opened, for example `os.O_APPEND`.

    Raises:
        OSError: the file cannot be opened.
    """
    with _opened(path, flags) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


@contextmanager
def hold(path: Path, *, wait: float = 0.5) -> Iterator[None]:
    """Hold the lock at `path`, waiting for it up to `wait` seconds.

    The default outlasts the instant for which `holder` tries it. Threads of one process exclude each other, too.

    Raises:
        Locked: it was not free in time.
        OSError: the file cannot be opened.
    """
    with _opened(path) as file:
        _acquire(file, time.monotonic() + wait)
        _sign(file)
        yield


def holder(path: Path) -> Holder | None:
    """Who holds the lock at `path`, None when nobody does."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _signature(file)
    finally:
        os.close(file)
    return None


@contextmanager
def _opened(path: Path, flags: int = 0) -> Iterator[int]:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | flags, 0o644)
    try:
        yield file
    finally:
        os.close(file)


def _acquire(file: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise Locked(_signature(file)) from None
            time.sleep(_POLL)


def _sign(file: int) -> None:
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)


def _signature(file: int) -> Holder:
    try:
        data = json.loads(os.pread(file, 4096, 0))
        return Holder(int(data["pid"]), str(data["host"]))
    except (ValueError, KeyError, TypeError):
        return Holder(0, "unknown")
