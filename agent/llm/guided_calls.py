"""Calls of tools as a grammar: exactly one call, of one of the tools, with arguments by its schema.

A call is written as {"name": NAME, "arguments": {...}}. A string argument whose schema has the extra key `grammar`,
which is `metric` or `allocation`, is a formula of that language.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tools.expression import ALLOCATION, METRIC
from tools.expression.grammar import LEVELS, expression_grammar
from tools.guided.rules import Alternative, Grammar, Literal, Pattern, Rule
from tools.guided.schema import Caps, schema_grammar
from tools.io.errors import UsageError

ToolSchema = Mapping[str, Any]
"""`name`, `description` and, as a JSON schema, `parameters`."""

_SIZES = (
    (LEVELS, Caps()),
    (4, Caps(text=120, items=6)),
    (3, Caps(text=60, items=4)),
    (2, Caps(text=24, items=2)),
    (2, Caps(text=12, items=1)),
)
"""Levels of a formula and caps of the rest, from what is wanted to what a model of a short context can hold."""

HEAD = re.compile(r'\{"name": "([^"]+)", "arguments": ')


@dataclass(frozen=True)
class Terminals:
    """What formulas may read; None for everything that the language knows."""

    metric: tuple[str, ...] | None = None
    allocation: tuple[str, ...] | None = None


def call_grammar(tools: Sequence[ToolSchema], terminals: Terminals, *, thought: int, most: int) -> Grammar:
    """The grammar of one call, with up to `thought` characters of free text before it.

    Every text of it has at most `most` characters, so at most as many tokens: free text gives way first, then
    formulas, strings and lists become shorter.

    Raises:
        UsageError: no call fits.
        ValueError: a tool's schema cannot be written under, see `schema_grammar`.
    """
    for levels, caps in _SIZES:
        call = _one_of(tools, _formulas(terminals, levels), caps)
        if call.longest <= most:
            return _after_thought(call, min(thought, most - call.longest))
    raise UsageError(f"a call takes up to {call.longest} tokens, and the model may write {most}; give it fewer tools")


def _formulas(terminals: Terminals, levels: int) -> dict[str, list[Grammar]]:
    """The grammars of both languages, from the longest formulas to single terminals."""
    languages = ((METRIC, terminals.metric), (ALLOCATION, terminals.allocation))
    return {
        language.name: [
            expression_grammar(language, names, most, f"{language.name}{most}") for most in range(levels, 0, -1)
        ]
        for language, names in languages
    }


def _one_of(tools: Sequence[ToolSchema], formulas: Mapping[str, Sequence[Grammar]], caps: Caps) -> Grammar:
    rules: dict[str, tuple[Alternative, ...]] = {}
    calls: list[Alternative] = []
    for index, tool in enumerate(tools):
        schema = {"additionalProperties": False, **tool["parameters"]}
        arguments = schema_grammar(schema, formulas, caps, f"tool{index}")
        rules.update(arguments.rules)
        head = f'{{"name": {json.dumps(tool["name"])}, "arguments": '
        calls.append((Literal(head), arguments.start, Literal("}")))
    return Grammar(Rule("call"), {**rules, "call": tuple(calls)})


def _after_thought(call: Grammar, thought: int) -> Grammar:
    """The call, or free text without braces and then the call: the first brace begins it."""
    if thought < 1:
        return call
    text = Pattern(rf"[ -z|~\n]{{1,{thought}}}", thought)
    return Grammar(Rule("reply"), {**call.rules, "reply": ((text, call.start), (call.start,))})


@dataclass(frozen=True)
class Piece:
    """A part of a reply as it comes: free text, the name of the tool, or a part of its arguments' JSON."""

    text: str = ""
    tool: str = ""
    arguments: str = ""


def pieces(written: Iterable[str]) -> Iterator[Piece]:
    """A reply under `call_grammar`, told apart while it is being written."""
    call, sent, called = "", 0, False
    for text in written:
        before, brace, after = text.partition("{") if not call else ("", "", text)
        if before:
            yield Piece(text=before)
        call += brace + after
        if not called and (head := HEAD.match(call)):
            called, sent = True, head.end()
            yield Piece(tool=head[1])
        # The brace that closes the call is not part of the arguments, so the last character waits for the next.
        if called and len(call) - 1 > sent:
            yield Piece(arguments=call[sent:-1])
            sent = len(call) - 1
