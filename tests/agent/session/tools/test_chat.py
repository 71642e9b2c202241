"""Talking to models: what is said to them goes to them, is kept as what it is, and nobody else hears it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from langchain_core.messages import AIMessage, BaseMessage

from agent.session.talk.conversation import Talk
from agent.session.talk.session import Session
from agent.session.talk.speakers import Rules
from agent.session.talk.tools.chat import ChatWithModels
from runs.run import Run
from tools.io.errors import SecateurError, UsageError

SECRET = "The secret of the garden"


class Listening(Rules):
    """The rules, which remember what they were shown."""

    def __init__(self) -> None:
        self.shown = ""

    def answer(self, messages: Sequence[BaseMessage], session: Session) -> AIMessage:
        self.shown += "\n".join(message.text for message in messages)
        return super().answer(messages, session)


@pytest.fixture
def talk(session: Session, pruned: Run) -> Iterator[Talk]:
    found = Talk(session.settings, session.carry, speaker=Listening())
    found.run = pruned
    yield found
    found.close()


def test_lines_go_to_both_models_until_the_person_comes_back(talk: Talk) -> None:
    run, heard = talk.run, list[str]()
    assert run is not None
    entered = talk.say("chat with it")
    assert f"You talk to the result of {run.id} and tiny now" in entered
    assert "MB for the weights of both" in entered
    assert "no chat template" in entered
    assert talk.to_models == f"the result of {run.id} and tiny"
    talk.session.hear = heard.append
    said = talk.say(SECRET)
    assert said == "".join(heard)
    ours, theirs = said.removeprefix(f"the result of {run.id}: ").split("\n\ntiny: ")
    assert ours == theirs != ""  # the model of this run was copied
    talk.session.stopped.set()
    assert "\n\ntiny: (stopped" in talk.say("stop is a word, too")
    assert not talk.session.stopped.is_set()
    assert "I did not understand" not in talk.say("what is a tree?")
    assert talk.say("/back") == "You talk to Secateur again; the models are let go."
    assert talk.to_models == ""
    assert "perplexity" in talk.say("what is the perplexity of both?")
    assert ("to models", SECRET) in talk.words
    assert ("models", said) in talk.words
    assert isinstance(talk.speaker, Listening)
    assert SECRET not in talk.speaker.shown
    assert SECRET not in run.journal.path.read_text()
    assert not run.inbox.path.exists() or SECRET not in run.inbox.path.read_text()


def test_one_question_comes_back_at_once_and_no_run_keeps_it(talk: Talk) -> None:
    said = talk.say(f"ask both: {SECRET}")
    assert "\n\ntiny: " in said
    assert talk.to_models == ""
    assert talk.run is not None
    assert SECRET not in talk.run.journal.path.read_text()


def test_a_model_that_cannot_be_loaded_is_told_and_nobody_is_talked_to(talk: Talk) -> None:
    assert "perplexity" in talk.say("what is the perplexity of both?")  # the conversation stands
    assert talk.run is not None
    (talk.run.model_folder / "model.safetensors").write_bytes(b"broken")
    said = talk.say("chat with it")
    assert "header too small" in said
    assert "You talk to" not in said
    assert talk.to_models == ""


def test_a_child_that_died_ends_the_chat_and_is_told(talk: Talk) -> None:
    talk.say("chat with the dense model")
    assert talk.session.exchange is not None
    talk.session.exchange._child.kill()
    said = talk.say("Are you there?")
    assert said.startswith("the process that held the models has ended")
    assert said.endswith("the models are let go.")
    assert talk.to_models == ""


def test_the_plan_tells_the_memory_of_both(session: Session, pruned: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from agent.session.talk.tools import subjects

    assert ChatWithModels().plan(session) == ""  # less than ten seconds
    monkeypatch.setattr(subjects, "LIGHT", 0.0)
    monkeypatch.setattr(subjects, "SHORT", 0.0)
    plan = ChatWithModels(new=40).plan(session)
    assert plan.startswith(f"Plan: the result of {pruned.id} and tiny are loaded and stay so; ")
    assert "at most 40 tokens" in plan
    assert "MB for the weights of both" in plan


def test_what_cannot_be_talked_to_is_refused(session: Session) -> None:
    with pytest.raises(SecateurError, match="There is no pruned model yet"):
        ChatWithModels().plan(session)
    session.beside = True
    with pytest.raises(UsageError, match="when the run is over"):
        ChatWithModels().plan(session)
