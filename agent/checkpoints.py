"""LangGraph's checkpoints of a run. The journal holds all that they say, so that one which cannot be read, or says
otherwise, is left and made anew."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from langgraph.checkpoint.base import BaseCheckpointSaver

from tools.io.errors import reason
from tools.io.shelf import Damaged, set_aside

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.graph.state import CompiledStateGraph

    from agent.context import Context, State

    Graph = CompiledStateGraph[State, Context, State, State]


def opened(path: Path) -> sqlite3.Connection:
    """A connection as LangGraph wants it, which may hand it on to a thread of its own."""
    return sqlite3.connect(path, check_same_thread=False)


def check(path: Path, config: RunnableConfig) -> None:
    """Set the file aside, with what SQLite keeps beside it, if it cannot be read.

    Raises:
        SecateurError: it cannot be set aside.
    """
    from langgraph.checkpoint.sqlite import SqliteSaver

    from agent.graph import build

    if not path.exists():
        return
    try:
        with closing(opened(path)) as connection:
            if (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise Damaged(found)
            build(SqliteSaver(connection)).get_state(config)
    except Exception as error:  # whatever SQLite, msgpack or LangGraph trips over in somebody else's bytes
        set_aside(path, reason(error))
        for more in ("-wal", "-shm", "-journal"):
            path.with_name(path.name + more).unlink(missing_ok=True)


def start(graph: Graph, config: RunnableConfig, place: State) -> State | None:
    """What to call the graph with: None, to go on in the middle of a generation, where the checkpoints agree with the
    journal on the `place`; else the place, which then is all that they hold."""
    found = graph.get_state(config)
    if found.next and found.values == place:
        return None
    assert isinstance(graph.checkpointer, BaseCheckpointSaver)
    graph.checkpointer.delete_thread(config["configurable"]["thread_id"])
    return place
