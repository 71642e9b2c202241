"""Engines in processes of their own: the app starts one, asks it to pause, and learns why it could not begin.

An engine that was started here lives on when the app is closed; a run is worked on by whoever holds its lock.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import IO

from runs.run import Run
from tools.io.errors import SecateurError

POLITENESS = 10
"""Added to the niceness of an engine, so that the screen keeps answering where it takes all cores."""
INTERRUPTED = (130, -signal.SIGINT)
"""The exit statuses of an engine that was asked to stop where it is: in order, or before it could catch that."""
ERROR = "secateur: "
"""How its lines for people begin."""


@dataclass
class Engine:
    """A process that works on a run."""

    run: Run
    process: subprocess.Popen[bytes]
    said: IO[bytes]
    """What it wrote; nobody reads a pipe when the app is gone, so it is a file."""

    @property
    def gone(self) -> bool:
        """Whether the process has ended, well or not."""
        return self.process.poll() is not None

    @property
    def problem(self) -> str:
        """The one line with which it failed; nothing where it did not, or was asked to stop."""
        code = self.process.poll()
        if not code or code in INTERRUPTED:
            return ""
        if code < 0:
            return f"the engine of run {self.run.id} was killed ({_signal(-code)}); /resume goes on where it stopped"
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").splitlines()
        told = [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]
        return told[-1] if told else f"the engine of run {self.run.id} ended with code {code}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def launch(run: Run, threads: int | None = None) -> Engine:
    """Start a process that works on a run to its end."""
    more = [] if threads is None else ["--threads", str(threads)]
    polite = ["nice", "-n", str(POLITENESS)] if shutil.which("nice") else []
    command = [*polite, sys.executable, "-m", "secateur", "resume", run.id, "--home", str(run.home), *more]
    said = tempfile.TemporaryFile()  # noqa: SIM115 (it outlives this function, with the process)
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
    )
    return Engine(run, process, said)


def pause(run: Run) -> None:
    """Ask the engine of a run to stop where it is; the run can be resumed.

    Raises:
        SecateurError: nobody works on it, or somebody on another host.
    """
    holder = run.engine
    if holder is None or holder.pid == 0:
        raise SecateurError(f"nobody works on run {run.id} now")
    if holder.host != socket.gethostname():
        raise SecateurError(f'run {run.id} is worked on by host {holder.host}: say "stop" and it concludes there')
    os.kill(holder.pid, signal.SIGINT)
