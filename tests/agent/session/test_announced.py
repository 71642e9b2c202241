"""A language model that is there and was not chosen is told of once."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.session.settings import load
from agent.session.talk.conversation import Talk
from agent.session.talk.session import Session
from agent.session.talk.speaker import THERE, _small, speaker
from agent.session.talk.speakers import Rules
from runs.run import Run


def carry(run: Run) -> str:
    return ""


def test_it_is_said_once_and_not_where_a_designer_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")  # the port of discard: nobody is there
    settings = load(tmp_path, {})
    talk = Talk(settings, carry, speaker=speaker(settings, Session(settings, carry)))
    first = talk.say("hello")
    assert THERE in first
    assert '"use openai:NAME"' in first
    assert THERE not in talk.say("hello")
    chosen = load(tmp_path, {"designer": "builtin"})
    assert type(speaker(chosen, Session(chosen, carry))) is Rules
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert type(speaker(settings, Session(settings, carry))) is Rules


@pytest.mark.parametrize(
    ("name", "small"),
    [
        ("openai:qwen2.5-coder-1.5b", True),
        ("openai:smollm2-135m", True),
        ("local:./model", True),
        ("openai:qwen3-30b-a3b", False),
        ("openai:Qwen/Qwen3-32B", False),
        ("openai:gpt-5", False),
    ],
)
def test_small_models_are_known_by_their_names(name: str, small: bool) -> None:
    assert _small(name) is small
