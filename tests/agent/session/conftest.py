"""What tests of the conversation and of its tools share."""

from __future__ import annotations

import contextlib
import io

import pytest

from agent.session.talk.session import Session
from tui.cli import run as cli


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
