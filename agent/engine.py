"""Do a run, from its first step or from where it stopped."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version
from typing import TYPE_CHECKING

from agent.identity import require_same_goal
from agent.recorder import Recorder
from runs.events import Event, Note, RunFailed, RunInterrupted, RunStarted
from runs.run import Run, Status
from tools.errors import SecateurError

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

    from agent.state import State

LIBRARIES = ("secateur", "torch", "transformers", "langgraph", "chromadb")
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
        if (began := next((e.goal for e in reversed(record.events) if isinstance(e, RunStarted)), None)) is not None:
            require_same_goal(began, run.goal, run.id)
        versions = {name: version(name) for name in LIBRARIES}
        resumed = bool(record.events)
        record(RunStarted(run=run.id, goal=run.goal, versions=versions, host=socket.gethostname(), pid=os.getpid()))
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


def _step_through(record: Recorder) -> None:
    from langgraph.checkpoint.sqlite import SqliteSaver

    from agent.designers.choose import designer
    from agent.graph import build
    from agent.state import Context

    run = record.run
    context = Context(record, run.home, designer(run.goal, record, run.home))
    config: RunnableConfig = {"configurable": {"thread_id": run.id}, "recursion_limit": STEPS}
    with closing(context), closing(sqlite3.connect(run.checkpoints, check_same_thread=False)) as connection:
        graph = build(SqliteSaver(connection))
        found = graph.get_state(config)
        if found.values and not found.next:  # it came to its end and was extended since
            onward = {"generation": found.values["generation"] + 1, "enough": ""}
            graph.update_state(config, onward, as_node="select")
        start: State | None = None if found.values else {"generation": 0, "enough": ""}
        graph.invoke(start, config, context=context, durability="sync")
