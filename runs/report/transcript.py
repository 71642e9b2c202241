"""Everything that the designer's LLM was told and said, in full, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from runs.events import Answered, Asked, Event, Message, ToolCall


def transcript(events: Iterable[Event]) -> str:
    """Every prompt and every answer, in the order of the calls."""
    return "\n\n".join(part for event in events for part in _said(event))


def _said(event: Event) -> Iterator[str]:
    match event:
        case Asked(call=call, model=model, messages=messages, tools=tools):
            yield f"# call {call} to {model}" + (f"\n\ntools: {', '.join(tools)}" if tools else "")
            yield from (_message(message) for message in messages)
        case Answered():
            used = f"{event.tokens_in} tokens read, {event.tokens_out} written, {event.seconds:.1f} s"
            parts = [f"## answer to {event.call} ({used})"]
            parts += [f"> {line}" for line in event.thinking.splitlines()]
            parts += [event.text] if event.text else []
            parts += [_call(call) for call in event.calls]
            parts += [f"problem: {event.problem}"] if event.problem else []
            yield "\n\n".join(parts)
        case _:
            return


def _message(message: Message) -> str:
    about = f" (answer to {message.answers})" if message.answers else ""
    return "\n\n".join([f"## {message.role}{about}", message.text, *(_call(call) for call in message.calls)]).strip()


def _call(call: ToolCall) -> str:
    return f"→ {call.name}({call.arguments})"
