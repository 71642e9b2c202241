"""Tool calls in plain text, for models that know none: how they are asked for, and how they are found."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage, merge_message_runs
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from runs.messages import ToolCall

LONGEST_TOKEN = 9
"""Characters of -Infinity, the longest word of JSON: an error further from the end is none of a text that is cut."""
_DECODER = json.JSONDecoder()
DEEPEST = 16
"""Levels of lists and objects in the arguments of a call; no tool takes more than three."""

_ALWAYS = "Answer with exactly one JSON object and nothing else, which calls one of these tools:"
_EITHER = "To use a tool, answer with exactly one JSON object and nothing else. To speak, answer in words. The tools:"


def without_calls(
    messages: Sequence[BaseMessage], tools: Sequence[BaseTool], *, words: bool = False
) -> list[BaseMessage]:
    """A conversation for a model that has no tool calls of its own: calls and results as text.

    Args:
        words: whether it may answer in words, too.

    The tools are described before the conversation, so that a server can keep what it has read of a growing one.
    """
    described = [json.dumps(convert_to_openai_tool(tool)["function"], ensure_ascii=False) for tool in tools]
    rule = f'{_EITHER if words else _ALWAYS}\n{{"name": "<tool>", "arguments": {{...}}}}\n\n' + "\n".join(described)
    return merge_message_runs([SystemMessage(rule), *(_plain(message) for message in messages)])


def call_schema(tools: Sequence[BaseTool]) -> dict[str, Any]:
    """The `response_format` of the OpenAI protocol under which an answer is one call of one of the tools."""
    functions = [convert_to_openai_tool(tool)["function"] for tool in tools]
    calls = [_object_of(name={"const": one["name"]}, arguments=one["parameters"]) for one in functions]
    return {"type": "json_schema", "json_schema": {"name": "call", "schema": {"anyOf": calls}}}


def _object_of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _plain(message: BaseMessage) -> BaseMessage:
    match message:
        case AIMessage(tool_calls=calls) if calls:
            said = [json.dumps({"name": call["name"], "arguments": call["args"]}) for call in calls]
            return AIMessage("\n".join([message.text, *said]).strip())
        case ToolMessage():
            return HumanMessage(f"Result of {message.name or 'the tool'}:\n{message.text}")
        case _:
            return message


def arguments_in(text: str) -> dict[str, Any] | None:
    """The arguments of a call as they were written; None where they are no JSON object, or one that is too deep."""
    try:
        value = json.loads(text, strict=False)  # a line break within a string is no reason to ask again
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and _shallow(value) else None


def _shallow(value: Any) -> bool:
    """Whether a value is nested at most `DEEPEST` deep: whoever copies, checks or writes it goes down into it."""
    level = [value]
    for _ in range(DEEPEST):
        inner = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        level = [part for parts in inner for part in parts]
    return not any(isinstance(part, dict | list) for part in level)


def calls_in(text: str, known: Collection[str], call: str) -> list[ToolCall]:
    """The calls of known tools that a text holds as JSON objects; `call` makes their ids."""
    found: list[ToolCall] = []
    for value in _objects(text):
        if one := called(value, known):
            name, arguments = one
            found.append(ToolCall(name=name, arguments=json.dumps(arguments), id=f"{call}/text{len(found)}"))
    return found


def called(value: dict[str, Any], known: Collection[str]) -> tuple[str, dict[str, Any]] | None:
    """The tool and the arguments that an object calls it with; None where it is no call of a known tool."""
    name, arguments = value.get("name", value.get("tool")), value.get("arguments", value.get("parameters"))
    if isinstance(name, str) and name in known and isinstance(arguments, dict) and _shallow(arguments):
        return name, arguments
    return None


def object_at(text: str, start: int) -> tuple[dict[str, Any] | None, int]:
    """The JSON object that begins with the brace at `start`, and where what follows it begins.

    None and the place behind the brace where there is none, whatever follows; None and 0 where more of the text may
    make it one.
    """
    try:
        value, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        unfinished = error.msg.startswith("Unterminated string") or len(text) - error.pos <= LONGEST_TOKEN
        return None, 0 if unfinished else start + 1
    except (ValueError, RecursionError):
        return None, start + 1
    return (value, end) if isinstance(value, dict) else (None, end)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Every JSON object in a text that is not inside another one."""
    start = text.find("{")
    while start >= 0:
        value, end = object_at(text, start)
        if value is not None:
            yield value
        start = text.find("{", end or start + 1)
