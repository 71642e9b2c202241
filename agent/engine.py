"""Do a run, from its first step or from where it stopped."""

from __future__ import annotations

import logging
import os
import platform
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from agent.identity import require_same_goal
from agent.recorder import Recorder
from runs.events import Event, Note, RunFailed, RunInterrupted, RunStarted
from runs.run import Run, Status
from tools.io import shelf as kept
from tools.io.errors import SecateurError
from tools.io.hardware import hardware_of

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

LIBRARIES = ("secateur", "torch", "transformers", "lm_eval", "langgraph", "chromadb", "numpy")
STEPS = 10_000
"""LangGraph's limit of super-steps; budgets end a run long before."""


def work(run: Run, *, listen: Callable[[Event], None] | None = None) -> None:
    """Take a run to its end, appending to its journal.

    A run that is finished is left as it is. One that was interrupted, killed or failed goes on: what the journal says
    was measured is not measured again.

    Raises:
        SecateurError: it cannot go on; the journal says so too.
        KeyboardInterrupt: somebody pressed Ctrl+C; the run can be resumed.
    """
    if run.status() is Status.FINISHED:
        return
    with run.lock():
        record = Recorder(run, listen)
        with _damage_noted(record):
            _work(record)


def _work(record: Recorder) -> None:
    run = record.run
    if (began := record.history.goal) is not None:
        require_same_goal(began, run.goal, run.id)
    resumed = record.history.at is not None
    record(_started(run))
    if resumed:
        record(Note(text="resumed: what was measured before is used again"))
    try:
        _step_through(record)
    except KeyboardInterrupt:
        record(RunInterrupted())
        raise
    except SecateurError as error:
        record(RunFailed(reason=str(error)))
        raise
    except sqlite3.Error as error:  # how a full disk shows in the checkpoints
        why = f"{run.checkpoints} cannot be written ({error}). Make room, then: secateur resume {run.id}"
        record(RunFailed(reason=why))
        raise SecateurError(why) from error


def _started(run: Run) -> RunStarted:
    import torch

    return RunStarted(
        run=run.id,
        goal=run.goal,
        versions={"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        host=socket.gethostname(),
        pid=os.getpid(),
        hardware=_hardware(run.goal.device),
        threads=torch.get_num_threads(),
    )


def _hardware(device: str) -> str:
    """What it is called; a device that is not there is refused where the model is opened."""
    try:
        return hardware_of(device)
    except (RuntimeError, AssertionError):
        return ""


@contextmanager
def _damage_noted(record: Recorder) -> Iterator[None]:
    """While open, what is set aside because it is damaged becomes a note in the journal."""

    class Notes(logging.Handler):
        def emit(self, told: logging.LogRecord) -> None:
            record(Note(text=told.getMessage()))

    notes = Notes()
    kept.logger.addHandler(notes)
    kept.logger.propagate = False
    try:
        yield
    finally:
        kept.logger.propagate = True
        kept.logger.removeHandler(notes)


def _step_through(record: Recorder) -> None:
    from langgraph.checkpoint.sqlite import SqliteSaver

    from agent.checkpoints import check, opened, start
    from agent.context import Context
    from agent.designers.choose import designer
    from agent.graph import build
    from agent.nodes.select import place

    run = record.run
    context = Context(record, run.home, designer(run.goal, record, run.home))
    config: RunnableConfig = {"configurable": {"thread_id": run.id}, "recursion_limit": STEPS}
    check(run.checkpoints, config)
    with closing(context), closing(opened(run.checkpoints)) as connection:
        graph = build(SqliteSaver(connection))
        graph.invoke(start(graph, config, place(context)), config, context=context, durability="sync")
