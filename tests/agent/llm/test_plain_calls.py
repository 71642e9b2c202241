"""Calls as text: what is no call of a known tool is none, however it is written."""

from __future__ import annotations

import json

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool

from agent.llm.plain_calls import DEEPEST, arguments_in, call_schema, calls_in, without_calls


@tool
def look(name: str) -> str:
    """Look at something."""
    return name


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ('Here: ```json\n{"name": "look", "arguments": {"name": "skew"}}\n```', [{"name": "skew"}]),
        ('{"tool": "look", "parameters": {"name": "a"}} {"name": "look", "arguments": {}}', [{"name": "a"}, {}]),
        ('{"name": "rm", "arguments": {"name": "/"}}', []),
        ('{"name": "look", "arguments": "skew"}', []),
        ('{"name": "look", "arguments": {"name": ', []),
        ("{" * 5000, []),
    ],
)
def test_calls_are_found_in_text(text: str, calls: list[dict[str, str]]) -> None:
    found = calls_in(text, {"look"}, "1/design/1")
    assert [json.loads(call.arguments) for call in found] == calls
    assert [call.id for call in found] == [f"1/design/1/text{i}" for i in range(len(calls))]


def test_arguments_are_an_object_of_bounded_depth() -> None:
    def nested(depth: int) -> str:
        return f'{{"name": {"[" * depth}{"]" * depth}}}'

    assert arguments_in(nested(DEEPEST - 1)) is not None
    assert arguments_in(nested(DEEPEST)) is None
    assert arguments_in(nested(100_000)) is None
    assert arguments_in("[1]") is None
    assert arguments_in('{"name": "two\nlines"}') == {"name": "two\nlines"}


def test_a_conversation_without_calls_says_what_was_called_and_answered() -> None:
    call = {"name": "look", "args": {"name": "skew"}, "id": "1"}
    told = without_calls(
        [HumanMessage("Go."), AIMessage("So.", tool_calls=[call]), ToolMessage("0.3", tool_call_id="1", name="look")],
        [look],
    )
    assert [message.type for message in told] == ["system", "human", "ai", "human"]
    assert "Look at something." in told[0].text
    assert told[2].text == 'So.\n{"name": "look", "arguments": {"name": "skew"}}'
    assert told[3].text == "Result of look:\n0.3"


def test_the_schema_of_an_answer_is_one_call() -> None:
    (one,) = call_schema([look])["json_schema"]["schema"]["anyOf"]
    assert one["properties"]["name"] == {"const": "look"}
    assert one["properties"]["arguments"]["properties"].keys() == {"name"}
    assert one["additionalProperties"] is False
