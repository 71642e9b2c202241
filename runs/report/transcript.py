"""Everything that the designer's LLM was told and said, in full, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from runs.events import Answered, Asked
from runs.fold.history import History
from runs.messages import Message, ToolCall


def transcript(history: History) -> str:
    """Every prompt and every answer, in the order of the calls."""
    parts = (_asked(call) if isinstance(call, Asked) else [_answered(call)] for call in history.dialogue)
    return "\n\n".join(part for told in parts for part in told)


def _asked(asked: Asked) -> Iterator[str]:
    tools = f"\n\ntools: {', '.join(asked.tools)}" if asked.tools else ""
    yield f"# call {asked.call} to {asked.model}{tools}"
    yield from (_message(message) for message in asked.messages)


def _answered(answer: Answered) -> str:
    used = f"{answer.tokens_in} tokens read, {answer.tokens_out} written, {answer.seconds:.1f} s"
    parts = [f"## answer to {answer.call} ({used})"]
    parts += [f"> {line}" for line in answer.thinking.splitlines()]
    parts += [answer.text] if answer.text else []
    parts += [_call(call) for call in answer.calls]
    parts += [f"problem: {answer.problem}"] if answer.problem else []
    return "\n\n".join(parts)


def _message(message: Message) -> str:
    about = f" (answer to {message.answers})" if message.answers else ""
    return "\n\n".join([f"## {message.role}{about}", message.text, *(_call(call) for call in message.calls)]).strip()


def _call(call: ToolCall) -> str:
    return f"→ {call.name}({call.arguments})"
