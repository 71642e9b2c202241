"""A designer that misbehaves: heard once it comes to its senses, replaced where it does not."""

from __future__ import annotations

from typing import Any

import pytest

from runs.events import Note, ToolUsed
from tests.agent.designers.scripted import TOOLS, WHY, generation, good, hostile, step
from tests.agent.loopback import Reply, Script, call, say

UNTIL_GOOD: dict[str, Script] = {
    "429 twice": hostile(lambda r, n: Reply(status=429), 2),
    "500 twice": hostile(lambda r, n: Reply(status=500), 2),
    "a stream that breaks off": hostile(lambda r, n: Reply(deltas=[{"content": "I wo"}], drop=True), 2),
    "no JSON in the stream": hostile(lambda r, n: Reply(raw=b"data: {nonsense\n\n"), 2),
    "an empty answer": hostile(lambda r, n: Reply(), 1),
    "talk": hostile(lambda r, n: say("I would rather talk about something else."), 1),
    "truncated arguments": hostile(lambda r, n: call("propose_metric", '{"expression": "W * X", "ba'), 1),
    "an unknown tool": hostile(lambda r, n: call("os_system", {"command": "touch /tmp/owned"}), 1),
    "wrong types": hostile(lambda r, n: call("propose_metric", {"expression": 7, "base": ["c-1"], "why": None}), 1),
    **{
        f"arguments nested {depth} deep": hostile(
            lambda r, n, deep=depth: call("propose_metric", f'{{"expression": {"[" * deep}{"]" * deep}}}'), 1
        )
        for depth in (17, 300, 900, 11_000)
    },
    "a call as text with deeply nested arguments": hostile(
        lambda r, n: say(f'{{"name": "layer_statistics", "arguments": {{"name": {"[" * 900}{"]" * 900}}}}}'), 1
    ),
    "arguments that are a list": hostile(lambda r, n: call("propose_metric", "[1, 2]"), 1),
    "a call as text": hostile(lambda r, n: say('{"name": "layer_statistics", "arguments": {"name": "skew"}}'), 1),
    "Python for a metric": hostile(
        lambda r, n: call("propose_metric", {"expression": "__import__('os').system('x')", "base": "c-1", **WHY}), 1
    ),
    "a known candidate": hostile(lambda r, n: call("propose_metric", {"expression": "X * W", "base": "c-1", **WHY}), 1),
}


@pytest.mark.parametrize("name", UNTIL_GOOD)
def test_a_designer_that_comes_to_its_senses_is_heard(name: str, at_work: Any) -> None:
    context = at_work(UNTIL_GOOD[name])
    made = generation(context)
    assert {event.candidate.designer for event in made} == {"openai:test"}
    assert {e.name for e in context.recorder.run.read() if isinstance(e, ToolUsed)} <= TOOLS
    retried = any("; again in " in e.text for e in context.recorder.run.read() if isinstance(e, Note))
    assert retried == (name in ("429 twice", "500 twice", "a stream that breaks off", "no JSON in the stream"))


def test_a_number_that_was_cut_off_is_not_taken_for_what_was_meant(at_work: Any) -> None:
    cut = f'{{"base": "c-1", "granularity": "block", "expression": "-depth", "why": "{WHY["why"]}", "width": 0.1'

    def short(request: dict[str, Any], number: int) -> Reply:
        done = sum(message["role"] == "assistant" for message in request["messages"])
        return call("propose_allocation", cut) if step(request) == "design" and not done else good(request, number)

    made = generation(at_work(short))
    assert {event.candidate.designer for event in made} == {"openai:test"}
    assert not any(event.candidate.recipe.allocation.expression == "-depth" for event in made)


NEVER_GOOD: dict[str, Reply] = {
    "401": Reply(status=401),
    "404": Reply(status=404),
    "500": Reply(status=500),
    "a dropped stream": Reply(deltas=[{"content": "I wo"}], drop=True),
    "empty answers": Reply(),
    "endless text": Reply(endless="and so on until {n} " * 20),
    "text that goes in circles": Reply(endless="Removing these weights could cost the most because of the scale. "),
    "unknown tools": call("rm", {"path": "/"}),
    "finishing at once": call("finish", WHY),
    "the same again": call("propose_metric", {"expression": "W * X", "base": "c-1", **WHY}),
}


@pytest.mark.parametrize("name", NEVER_GOOD)
def test_a_designer_that_stays_unusable_is_replaced_visibly(name: str, at_work: Any) -> None:
    context = at_work(lambda request, number: NEVER_GOOD[name])
    made = generation(context)
    assert made
    assert {event.candidate.designer for event in made} == {"builtin"}
    notes = [e.text for e in context.recorder.run.read() if isinstance(e, Note)]
    assert any("proposed nothing usable for generation 1: builtin operators do" in text for text in notes)
    assert {e.name for e in context.recorder.run.read() if isinstance(e, ToolUsed)} <= TOOLS
