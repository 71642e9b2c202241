"""A model whose calls are journalled: what is known is not asked again, and what is asked is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGenerationChunk

from agent.llm.connection import Connection
from agent.llm.journalled import JournalledModel, Unusable
from agent.llm.leaving import CutOff
from agent.llm.prices import Price
from agent.recorder import Recorder
from runs.events import Answered, Asked
from runs.goal import Goal
from runs.run import create


@pytest.fixture
def record(tmp_path: Path) -> Recorder:
    return Recorder(create(tmp_path, Goal(model="tiny", sparsity=0.5)))


def speaking(record: Recorder, *texts: str, **more: Any) -> JournalledModel:
    """A conversation with a model that says these and then nothing."""
    answers: Iterator[AIMessage | str] = iter(texts)
    connection = Connection("openai:test", GenericFakeChatModel(messages=answers), record, **{"price": None, **more})
    return JournalledModel(connection=connection, topic="1/reason")


def test_a_question_is_kept_with_what_is_new_in_it_and_its_answer(record: Recorder) -> None:
    model = speaking(record, "Yes.", "No.", price=Price(read=1e6, write=1e6))
    start = HumanMessage("Is it skewed?")
    first = model.invoke([start])
    model.invoke([start, first, HumanMessage("Really?")])
    asked = [event for event in record.run.read() if isinstance(event, Asked)]
    assert [(event.call, [message.text for message in event.messages]) for event in asked] == [
        ("1/reason/1", ["Is it skewed?"]),
        ("1/reason/2", ["Yes.", "Really?"]),
    ]
    answers = [event for event in record.run.read() if isinstance(event, Answered)]
    assert [event.text for event in answers] == ["Yes.", "No."]
    assert all(event.money == event.tokens_in + event.tokens_out > 0 for event in answers)


def test_what_the_journal_answers_is_not_asked_again(record: Recorder) -> None:
    speaking(record, "Yes.").invoke("Is it skewed?")
    events = len(record.run.read())
    again = speaking(record)  # which has nothing to say
    assert again.invoke("Is it skewed?").content == "Yes."
    assert len(record.run.read()) == events


def test_a_replay_without_a_model_says_what_was_said_and_no_more(record: Recorder) -> None:
    known = {"1/reason/1": Answered(call="1/reason/1", text="Yes.")}
    replayed = JournalledModel(connection=Connection("replay:x", None, record, None, known), topic="1/reason")
    assert replayed.invoke("Is it skewed?").content == "Yes."
    with pytest.raises(Unusable, match="the replayed run holds no answer to 1/reason/2"):
        replayed.invoke("And now?")
    first, second = (event for event in record.run.read() if isinstance(event, Answered))
    assert (first.problem, bool(second.problem)) == ("", True)


def test_what_was_said_before_an_answer_was_left_is_kept_in_a_talk(record: Recorder) -> None:
    stop = Event()

    class Halting(GenericFakeChatModel):
        def _stream(self, *args: Any, **more: Any) -> Iterator[ChatGenerationChunk]:
            yield ChatGenerationChunk(message=AIMessageChunk("The first layers"))
            stop.wait(60)

    halting = Halting(messages=iter(()))
    talk = Connection("openai:test", halting, record, None, patience=0.3, longest=60.0, attempts=1)
    with pytest.raises(CutOff, match="cut off after 0 s") as cut:
        JournalledModel(connection=talk, topic="talk/1").invoke("Why?")
    assert cut.value.said == "The first layers"
    run = Connection("openai:test", halting, record, None, patience=0.3, attempts=1)
    with pytest.raises(Unusable):
        JournalledModel(connection=run, topic="1/reason").invoke("Why?")
    stop.set()
