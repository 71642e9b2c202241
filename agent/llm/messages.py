"""Messages, from LangChain's to the journal's and back."""

from __future__ import annotations

import json

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, SystemMessage, ToolMessage

from agent.llm.plain_calls import arguments_in
from runs.events import Answered
from runs.messages import Message, ToolCall


def text_of(message: BaseMessage) -> str:
    """What is said, without calls and thoughts."""
    return message.text if isinstance(message.text, str) else str(message.text)


def thinking_of(message: BaseMessage) -> str:
    """What a model thought beside its answer, where its server sends that."""
    return str(message.additional_kwargs.get("reasoning_content") or "")


def calls_of(whole: AIMessageChunk, call: str) -> list[ToolCall]:
    """The native calls of an answer, as they were written: what langchain reads of arguments that were cut off is not
    what was meant."""
    return [
        ToolCall(name=c["name"] or "", arguments=c["args"] or "{}", id=c["id"] or f"{call}/{i}")
        for i, c in enumerate(whole.tool_call_chunks)
    ]


def for_journal(message: BaseMessage) -> Message:
    """A message as the journal keeps it."""
    match message:
        case AIMessage():
            calls = tuple(
                ToolCall(name=c["name"], arguments=json.dumps(c["args"]), id=c["id"] or "") for c in message.tool_calls
            )
            return Message(role="ai", text=text_of(message), calls=calls)
        case ToolMessage():
            return Message(role="tool", text=text_of(message), answers=message.tool_call_id)
        case SystemMessage():
            return Message(role="system", text=text_of(message))
        case _:
            return Message(role="human", text=text_of(message))


def as_message(answer: Answered) -> AIMessage:
    """An answer as a message; arguments that are no JSON object become an invalid call, for whoever asks to mend it."""
    good, bad = [], []
    for call in answer.calls:
        arguments = arguments_in(call.arguments)
        if arguments is None:
            bad.append({"name": call.name, "args": call.arguments, "id": call.id, "error": "the arguments are no JSON"})
        else:
            good.append({"name": call.name, "args": arguments, "id": call.id})
    return AIMessage(content=answer.text, tool_calls=good, invalid_tool_calls=bad)
