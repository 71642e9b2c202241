"""Calls written into a text are never shown, however it is cut; whatever is no call is shown to its last letter."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk

from agent.llm.held_back import parted
from agent.llm.plain_calls import calls_in
from agent.llm.speech import Speech
from runs.events import Spoke

KNOWN = {"look", "layer_statistics"}
CALL = '{"name": "look", "arguments": {"name": "a } b"}}'
OTHERS = [
    '{"name": "rm", "arguments": {}}',
    '{"a": 1}',
    '{"a": {"b": tru',
    "{1, 2}",
    "{",
    "}",
    '{"',
    "[",
    "]",
    "]\n",
    ", ",
]
AROUND = [
    "```json\n",
    "```\n",
    "\n```",
    "```python\n",
    "~~~",
    "<tool_call>",
    "</tool_call>",
    "<|tool|>",
    "[TOOL_CALLS]",
]
PARTS = [
    *('{"name": "look", "arguments": {}}', CALL, '{"tool": "layer_statistics", "parameters": {"k": [1, 2.5e-3]}}'),
    *(
        "`W * X`",
        "a < b",
        ", ",
        "[TOOL_CALLS]",
        "I look. ",
        "Next\n\n",
        " ",
        "\n",
        "-",
        "\\u00",
        "c-12",
        "“",
        *OTHERS,
        *AROUND,
    ),
]


def said(text: str) -> str:
    return parted(text, KNOWN, whole=True)[0]


def heard(text: str, cuts: list[int]) -> list[str]:
    """What reaches a listener of a text that comes in pieces."""
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    events: list[Spoke] = []
    speech = Speech("1/design/1", events.append, known=KNOWN, every=0.0)
    for start, end in pairwise(places):
        speech.hear(AIMessageChunk(content=text[start:end]))
    speech.end()
    return [event.text for event in events]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"I look.\n{CALL}", "I look.\n"),
        (f"I look.\n```json\n{CALL}\n```\nThen more.", "I look.\nThen more."),
        (f"<tool_call>\n{CALL}\n</tool_call>", ""),
        (f"<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>", ""),
        (f"```json\n{CALL}\n```\n```json\n{CALL}\n```", ""),
        (f"[TOOL_CALLS][{CALL}, {CALL}]", ""),
        ("a set {1, 2} of blocks", "a set {1, 2} of blocks"),
        ('```json\n{"name": "rm", "arguments": {}}\n```', '```json\n{"name": "rm", "arguments": {}}\n```'),
        ('so: {"name": "look", "arguments": {', 'so: {"name": "look", "arguments": {'),
        ("`W * X` where a < b [sic]", "`W * X` where a < b [sic]"),
        ("{" * 3000, "{" * 3000),
        ("`a" * 8000, "`a" * 8000),
        ("<`" * 3000, "<`" * 3000),
    ],
)
def test_calls_go_with_what_is_around_them_and_nothing_else_does(text: str, shown: str) -> None:
    assert said(text) == shown
    assert "".join(heard(text, [*range(0, len(text), 1 + len(text) // 60)])) == shown


@given(st.lists(st.sampled_from(PARTS), max_size=9), st.lists(st.integers(0, 200), max_size=12))
def test_however_it_is_cut_the_same_is_said(parts: list[str], cuts: list[int]) -> None:
    text = "".join(parts)
    assert "".join(heard(text, cuts)) == said(text)
    assert calls_in(said(text), KNOWN, "1") == []


@given(st.text('`~<>[]{}": ,\nabx1-.\\', max_size=40), st.lists(st.integers(0, 120), max_size=12), st.booleans())
def test_any_text_around_a_call(text: str, cuts: list[int], first: bool) -> None:
    text = f"{CALL}{text}" if first else f"{text}{CALL}"
    assert "".join(heard(text, cuts)) == said(text)
    if not calls_in(text, KNOWN, "1"):  # the text before it left a brace or a string open
        assert said(text) == text
    else:
        assert CALL not in said(text)


@given(st.lists(st.sampled_from(PARTS), max_size=6))
def test_nothing_of_a_call_is_shown_on_the_way(parts: list[str]) -> None:
    """Not even for a moment: whatever was shown is a beginning of what is said in the end."""
    text = "".join(parts)
    for end in range(len(text)):
        assert said(text).startswith(parted(text[:end], KNOWN, whole=False)[0])


def test_what_is_sure_to_be_no_call_is_shown_before_the_end() -> None:
    assert parted("the set {1, 2} and more words", KNOWN, whole=False)[0] == "the set {1, 2} and more words"
    assert parted("see ```python\nx = {a for a in b}\n", KNOWN, whole=False)[0].startswith("see ```python\nx = {a")
    assert parted('{"name": "rm", "arguments": {}} is refused', KNOWN, whole=False)[0].endswith("is refused")
