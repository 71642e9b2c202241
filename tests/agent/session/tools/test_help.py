"""Who designs and who answers is chosen in conversation."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.session.settings import load
from agent.session.talk import grammar
from agent.session.talk.conversation import Talk
from agent.session.talk.session import Session
from agent.session.talk.speakers import Model, Rules
from agent.session.talk.tools import TOOLS
from agent.session.talk.tools.help import UseDesigner
from agent.session.talk.tools.measure import EvaluateTasks
from tools.io.errors import UsageError


def test_a_designer_is_taken_and_a_language_model_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    talk = Talk(load(tmp_path / "home"), lambda run: "done")
    tool = UseDesigner(name="openai:qwen")
    assert tool.plan(talk.session) == ""  # a server of one's own costs nothing
    assert "answers here from your next line on" in tool.work(talk.session)
    assert isinstance(talk.speaker, Model)
    assert talk.session.designer == "openai:qwen"
    assert "the rules read what you say" in UseDesigner(name="builtin").work(talk.session)
    assert isinstance(talk.speaker, Rules)
    talk.close()


def test_an_ensemble_is_taken_and_its_first_member_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    talk = Talk(load(tmp_path / "home"), lambda run: "done", yes=True)
    assert "openai:a answers here from your next line on, openai:b where it cannot" in talk.say(
        "use openai:a and openai:b"
    )
    assert isinstance(talk.speaker, Model)
    assert (talk.session.designer, talk.speaker.name) == ("openai:a,openai:b", "openai:a")
    talk.close()


def test_members_of_an_ensemble_cost_their_own_prices(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    plan = UseDesigner(name="openai:gpt-4.1-mini,openai:new").plan(session)
    assert "openai:gpt-4.1-mini: 0.4 US dollars per million tokens read, 1.6 written; openai:new: its price" in plan
    with pytest.raises(UsageError, match="no language model"):
        UseDesigner(name="openai:new,builtin").plan(session)


def test_what_costs_money_is_asked_about_and_what_cannot_be_is_refused(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    assert "0.4 US dollars per million tokens read, 1.6 written" in UseDesigner(name="openai:gpt-4.1-mini").plan(
        session
    )
    assert "its price is not known here" in UseDesigner(name="openai:new").plan(session)
    with pytest.raises(UsageError, match="is not known"):
        UseDesigner(name="somebody").plan(session)
    assert session.designer == ""


def test_every_tool_tells_a_model_what_it_is_for() -> None:
    for name, tool in TOOLS.items():
        assert tool.__doc__, name
        assert len(" ".join(tool.__doc__.split())) < 300, name
        assert tool.model_json_schema()["type"] == "object"


def test_own_tasks_are_taken_from_a_folder_that_holds_some(tmp_path: Path) -> None:
    talk, folder = Talk(load(tmp_path / "home"), lambda run: "done"), tmp_path / "mytasks"
    assert "is no folder" in talk.say(f"use the tasks in {folder}")
    folder.mkdir()
    assert "holds no task" in talk.say(f"use the tasks in {folder}")
    (folder / "riddles.jsonl").write_text("{}")
    said = talk.say(f"use the tasks in {folder}")
    assert said.startswith(f"Tasks come from {folder} until this conversation is left: riddles.")
    assert talk.settings.given("task_data") == str(folder)
    assert grammar.read("evaluate it on riddles", talk.session) == [EvaluateTasks(tasks=("riddles",))]
    talk.close()
