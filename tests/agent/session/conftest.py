"""What tests of the conversation and of its tools share."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.session.settings import load
from agent.session.talk.conversation import Talk
from agent.session.talk.session import Session
from agent.session.talk.speaker import speaker
from runs.run import Run
from tests.agent.loopback import Script, serving
from tui.cli import run as cli

SMALL = {"windows": 4, "length": 64, "search_windows": 4, "search_length": 64, "test_windows": 4, "test_length": 64}


def carry(run: Run) -> str:
    """Nobody works on it."""
    return f"Run {run.id} begins."


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def opened(home: Path) -> Iterator[Callable[..., Talk]]:
    """Conversations of one home; each call is another process that takes up its thread."""
    made: list[Talk] = []

    def of(**more: Any) -> Talk:
        made.append(Talk(load(home, {**SMALL, "candidates": 4}), carry, **more))
        return made[-1]

    yield of
    for talk in made:
        talk.close()


@pytest.fixture
def spoken(home: Path, opened: Callable[..., Talk], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Talk]]:
    """A conversation with a scripted language model."""
    servers: list[Any] = []

    def of(script: Script, **more: Any) -> Talk:
        context = serving(script)
        server = context.__enter__()
        servers.append(context)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        talk = opened(**more)
        talk.speaker = speaker(load(home, {**SMALL, "designer": "openai:test"}), talk.session)
        talk.requests = server.requests  # type: ignore[attr-defined]
        return talk

    yield of
    for context in servers:
        context.__exit__(None, None, None)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What child processes would be started; they work in this one."""
    started: list[list[str]] = []

    def here(self: Session, arguments: list[str]) -> tuple[int, str, str]:
        started.append(arguments)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli(arguments)
        return code, out.getvalue(), err.getvalue()

    monkeypatch.setattr(Session, "_child", here)
    return started
