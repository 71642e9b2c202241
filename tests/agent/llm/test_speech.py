"""An answer while it is spoken: all of it reaches the journal, and one without end is noticed."""

from __future__ import annotations

from langchain_core.messages import AIMessageChunk

from agent.llm.speech import CIRCLES, LONGEST_ANSWER, PASSAGE, Speech
from runs.events import Spoke


def said(*texts: str) -> tuple[Speech, list[Spoke]]:
    events: list[Spoke] = []
    found = Speech("1/design/1", events.append)
    for text in texts:
        found.hear(AIMessageChunk(content=text))
    return found, events


def test_nothing_that_was_said_is_lost() -> None:
    found, events = said("I ", "wo", "uld.")
    found.hear(AIMessageChunk(content="", additional_kwargs={"reasoning_content": "Hm."}))
    found.end()
    assert "".join(event.text for event in events if not event.thinking) == "I would."
    assert "".join(event.text for event in events if event.thinking) == "Hm."
    assert {event.call for event in events} == {"1/design/1"}


def test_circles_are_noticed_after_so_many_rounds() -> None:
    passage = "".join(chr(ord("a") + i % 26) for i in range(PASSAGE - 1)) + "."
    assert not said(passage * (CIRCLES - 1))[0].circling
    assert said(passage * CIRCLES)[0].circling
    assert not said("".join(str(i) for i in range(400)))[0].circling


def test_length_ends_an_answer() -> None:
    assert not said("x" * LONGEST_ANSWER)[0].endless
    assert said("x" * LONGEST_ANSWER, "x")[0].endless
