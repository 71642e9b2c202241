"""Calls under a grammar: they are told apart while they are written, and shrink to what a model can hold."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.llm.guided_calls import Piece, Terminals, call_grammar, pieces
from tools.io.errors import UsageError

TOOL: dict[str, Any] = {
    "name": "propose",
    "description": "",
    "parameters": {
        "type": "object",
        "properties": {
            "metric": {"type": "string", "grammar": "metric", "maxLength": 300},
            "why": {"type": "string", "maxLength": 200},
        },
        "required": ["metric", "why"],
    },
}


def test_a_reply_is_told_apart_wherever_it_is_torn() -> None:
    reply = 'I think.\n{"name": "propose", "arguments": {"metric": "W * X", "inner": {"a": 1}}}'
    for width in range(1, len(reply) + 1):
        found = list(pieces(reply[i : i + width] for i in range(0, len(reply), width)))
        assert "".join(piece.text for piece in found) == "I think.\n"
        assert [piece.tool for piece in found if piece.tool] == ["propose"]
        assert json.loads("".join(piece.arguments for piece in found)) == {"metric": "W * X", "inner": {"a": 1}}
    assert list(pieces(iter(['{"name": "finish", "arguments": {}}']))) == [Piece(tool="finish"), Piece(arguments="{}")]


def test_free_text_gives_way_first_and_then_formulas_become_shorter() -> None:
    terminals = Terminals(metric=("W", "X"))
    whole = call_grammar([TOOL], terminals, thought=0, most=100_000).longest
    assert call_grammar([TOOL], terminals, thought=50, most=100_000).longest == whole + 50
    assert call_grammar([TOOL], terminals, thought=50, most=whole + 10).longest == whole + 10
    assert call_grammar([TOOL], terminals, thought=50, most=whole - 1).longest < whole
    with pytest.raises(UsageError, match="give it fewer tools"):
        call_grammar([TOOL], terminals, thought=50, most=20)
