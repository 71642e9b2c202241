"""An answer in plain lines: on a terminal as it comes, and each of its lines once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agent.session.settings import load
from agent.session.talk.session import Session, Use
from tui.text.heard import Heard


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(load(tmp_path), lambda run: "")


def test_on_a_terminal_words_and_tools_are_shown_as_they_come(
    session: Session, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    heard = Heard(session)
    session.hear("I ")
    session.hear("look.")
    assert capsys.readouterr().out == "I look."
    session.use(Use("past runs", "m-1"))
    assert "· past runs …" in (begun := capsys.readouterr()).err
    assert begun.out == "\n"
    session.use(Use("past runs", "m-1", 0.2))
    ended = capsys.readouterr().err
    assert "0.2 s   m-1" in ended
    assert "past runs" not in ended
    session.hear("\n41.3 points.\nDone.")
    assert heard.answered("I look.\n41.3 (?) points.\nDone.\nPlan: so") == "41.3 (?) points.\nPlan: so"
    assert heard.answered("Another.") == "Another."


def test_elsewhere_the_answer_comes_whole_and_tools_when_they_have_ended(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    heard = Heard(session)
    session.hear("I look.")
    session.use(Use("past runs", "m-1"))
    session.use(Use("past runs", "m-1", 75.0))
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "· past runs … 1:15   m-1\n"
    assert heard.answered("I look.") == "I look."
    lines: list[str] = []
    heard.elsewhere = lines.append
    session.use(Use("speed"))
    session.use(Use("speed", "", 12.4))
    assert lines == ["· speed … 12 s"]
    assert capsys.readouterr().err == ""
