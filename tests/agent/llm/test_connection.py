"""How a model is asked for calls: what it cannot do is dropped for good, and said."""

from __future__ import annotations

from typing import Any

import pytest

from agent.llm.connection import CallFormat, Connection
from agent.llm.prices import Price

ALL = [CallFormat.NATIVE, CallFormat.SCHEMA, CallFormat.TEXT]


def connected(formats: list[CallFormat], price: Price | None = None) -> tuple[Connection, list[str]]:
    notes: list[str] = []
    record: Any = lambda event: notes.append(event.text)  # noqa: E731
    return Connection("openai:test", None, record, price, formats=list(formats)), notes


def test_a_call_in_text_leads_to_a_schema_at_once_and_silence_at_the_second_time() -> None:
    connection, notes = connected(ALL)
    connection.heard(native=False, text=False)
    assert connection.formats == ALL
    connection.heard(native=True, text=True)
    connection.heard(native=False, text=False)
    assert connection.formats == ALL, "a call in between ends the silence"
    connection.heard(native=False, text=False)
    assert connection.formats == ALL[1:]
    assert notes == ["openai:test called no tool: asked for JSON by schema instead of tool calls"]
    other, notes = connected(ALL)
    other.heard(native=False, text=True)
    assert notes == ["openai:test wrote a call as text: asked for JSON by schema instead of tool calls"]


def test_without_a_schema_a_call_in_text_is_as_good() -> None:
    connection, notes = connected([CallFormat.NATIVE, CallFormat.TEXT])
    for _ in range(3):
        connection.heard(native=False, text=True)
    assert (len(connection.formats), notes) == (2, [])


def test_guesses_are_told_once_and_money_is_counted_where_it_is_known() -> None:
    connection, notes = connected(ALL)
    connection.guessed()
    connection.guessed()
    assert (connection.guesses, len(notes)) == (2, 1)
    assert connection.cost(10, 10) == 0.0
    assert connected(ALL, Price(read=1, write=3))[0].cost(10, 10) == pytest.approx(4e-5)
