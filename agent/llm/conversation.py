"""A conversation as the tokens that a local model reads: roles, tools described in words, cut to what fits.

Tools are described in the system message for every model alike. Chat templates that take tools disagree on how a call
looks, and a model must read of the very form that it is going to be held to. A result of a tool is told by the user,
as many templates know no other role than system, user and assistant.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage, ToolMessage

Turn = dict[str, str]
"""`role` and `content`."""


@dataclass(frozen=True)
class Prompt:
    """What the model reads, and what it does not."""

    tokens: list[int]
    dropped: int = 0
    """Turns left out, the oldest first."""
    cut: int = 0
    """Tokens taken out of the middle, where system message and last turn alone are too long."""


def prompt(messages: Sequence[BaseMessage], tools: Sequence[Mapping[str, Any]], tokenizer: Any, room: int) -> Prompt:
    """A conversation in at most `room` tokens. The system message and the last turn stay as long as they fit."""
    system, turns = _turns(messages, tools)
    dropped = 0
    while True:
        tokens = _tokens(system, turns, tokenizer)
        if len(tokens) <= room or len(turns) <= 1:
            break
        # Templates want the person to begin.
        gone = 2 if len(turns) > 2 and turns[1]["role"] == "assistant" else 1
        turns, dropped = turns[gone:], dropped + gone
    cut = max(len(tokens) - room, 0)
    head = room // 2
    return Prompt(tokens[:head] + tokens[head + cut :] if cut else tokens, dropped, cut)


def _turns(messages: Sequence[BaseMessage], tools: Sequence[Mapping[str, Any]]) -> tuple[str, list[Turn]]:
    """The system text, and the turns: who speaks twice in a row speaks once."""
    system = [message.text for message in messages if isinstance(message, SystemMessage)]
    turns: list[Turn] = []
    for message in messages:
        if isinstance(message, SystemMessage):
            continue
        role = "assistant" if isinstance(message, AIMessage) else "user"
        if turns and turns[-1]["role"] == role:
            turns[-1] = {"role": role, "content": f"{turns[-1]['content']}\n\n{_content(message)}"}
        else:
            turns.append({"role": role, "content": _content(message)})
    return "\n\n".join([*system, *([_manual(tools)] if tools else [])]), turns


def _content(message: BaseMessage) -> str:
    match message:
        case AIMessage():
            calls = [json.dumps({"name": call["name"], "arguments": call["args"]}) for call in message.tool_calls]
            return "\n".join([*([message.text] if message.text else []), *calls])
        case ToolMessage():
            return f"Result of {message.name or 'the call'}: {message.text}"
    return str(message.text)


def _tokens(system: str, turns: Sequence[Turn], tokenizer: Any) -> list[int]:
    if not tokenizer.chat_template:
        said = [f"{turn['role'].capitalize()}: {turn['content']}" for turn in turns]
        text = "\n\n".join([*([system] if system else []), *said, "Assistant:"])
        return list(tokenizer(text, verbose=False).input_ids)
    from jinja2.exceptions import TemplateError

    opening: list[Turn] = [{"role": "system", "content": system}] if system else []
    try:
        return _templated([*opening, *turns], tokenizer)
    except TemplateError:  # the template knows no system message
        first = {"role": "user", "content": f"{system}\n\n{turns[0]['content']}"}
        return _templated([first, *turns[1:]], tokenizer)


def _templated(turns: Sequence[Turn], tokenizer: Any) -> list[int]:
    said = tokenizer.apply_chat_template(list(turns), add_generation_prompt=True, tokenize=True, return_dict=False)
    return list(said)


def _manual(tools: Sequence[Mapping[str, Any]]) -> str:
    """The tools in words: a line for each, a line for each of its arguments."""
    lines = ['Answer with one call of a tool, as JSON: {"name": "...", "arguments": {...}}. The tools:']
    for tool in tools:
        lines.append(f"- {tool['name']}: {_one_line(tool.get('description', ''))}")
        for name, schema in tool["parameters"].get("properties", {}).items():
            about = _one_line(schema.get("description", ""))
            lines.append(f"    {name} ({_kind(schema)}){': ' if about else ''}{about}")
    return "\n".join(lines)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _kind(schema: Mapping[str, Any]) -> str:
    """What values an argument has, in a word or two."""
    if "grammar" in schema:
        return f"{schema['grammar']} formula"
    if "enum" in schema or "const" in schema:
        return " | ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " | ".join(_kind(one) for one in schema[key])
    kind = str(schema.get("type", "value"))
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    low = schema.get("minimum", schema.get("exclusiveMinimum", ""))
    high = schema.get("maximum", schema.get("exclusiveMaximum", ""))
    return kind if low == high == "" else f"{kind} {low}..{high}"
