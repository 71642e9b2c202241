"""A run after its first generation, and the second one with a designer behind a scripted server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tenacity import wait_none

from agent.context import Context
from agent.designers.builtin import Builtin
from agent.designers.choose import designer
from agent.nodes.design import design
from agent.nodes.measure import measure
from agent.nodes.reason import reason
from agent.nodes.recall import recall
from agent.nodes.screen import screen
from agent.nodes.select import select
from agent.nodes.survey import survey
from agent.recorder import Recorder
from runs.events import RunStarted
from runs.run import create
from tests.agent.designers.scripted import KEY, goal
from tests.agent.loopback import Script, serving


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.llm.journalled.WAIT", wait_none())
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture(scope="session")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A run after its first generation, with its resident model."""
    run = create(tmp_path_factory.mktemp("home"), goal())
    record = Recorder(run)
    record(RunStarted(run=run.id, goal=run.goal, versions={}, host="here", pid=1))
    context = Context(record, run.home, Builtin())
    runtime: Any = SimpleNamespace(context=context)
    state: Any = {"generation": 0, "enough": ""}
    for node in (survey, recall, reason, design, screen, measure, select):
        state = node(state, runtime)
    assert state == {"generation": 1, "enough": ""}
    return context


@pytest.fixture
def at_work(begun: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Script], Context]]:
    """Start the same second generation anew, with the designer behind a scripted server."""
    servers = []

    def start(script: Script, **changes: object) -> Context:
        run = create(tmp_path / f"home{len(servers)}", goal(**changes))
        shutil.copy(begun.recorder.run.journal.path, run.journal.path)
        server = serving(script)
        monkeypatch.setenv("OPENAI_BASE_URL", server.__enter__().url)
        servers.append(server)
        record = Recorder(run)
        found = Context(record, run.home, designer(run.goal, record, run.home))
        found._model, found._bench, found._parts = begun._model, begun._bench, begun._parts
        return found

    yield start
    for server in servers:
        server.__exit__(None, None, None)
