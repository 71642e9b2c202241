"""What goes to and fro between the designer and its LLM, as the journal holds it."""

from __future__ import annotations

from typing import Literal

from runs.candidate import Text
from tools.io.frozen import Frozen


class ToolCall(Frozen):
    """A tool that an LLM asked for; its arguments are JSON as the LLM wrote them, which may be none."""

    name: Text
    arguments: Text
    id: str


class Message(Frozen):
    """One message of a conversation with the designer's LLM."""

    role: Literal["system", "human", "ai", "tool"]
    text: Text
    calls: tuple[ToolCall, ...] = ()
    """Of `ai`: the tools it asked for."""
    answers: str = ""
    """Of `tool`: the id of the call that it answers."""
