"""A small language model in conversation: it chooses among tools by name, then fills in one at a time.

What the grammar reads needs no model. A model of 0.5 to 3 B is asked two short things, each held to a schema: which
tools a line asks for, and what the line says of the arguments of one of them. What the line does not say is left out:
such models fill in what nobody said. Results are told as the tools say them.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from math import isclose
from typing import Any, Literal

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import StructuredTool
from pydantic import BaseModel, Field, ValidationError, create_model

from agent.llm.connection import Connection
from agent.llm.journalled import JournalledModel, Unusable
from agent.llm.leaving import Stopped
from agent.session.talk import grammar
from agent.session.talk.evidence import marked
from agent.session.talk.graph import calling
from agent.session.talk.session import Session
from agent.session.talk.speakers import Asked, Other, described
from agent.session.talk.tools import TOOLS
from agent.session.talk.tools.run import Foresee, Prune
from agent.session.talk.tools.tool import SessionTool
from agent.session.talk.waiting import Call

WARM = 300.0
"""Seconds for reading the menu for the first time."""
WORDS = "words"
"""Chosen where no tool is meant: a question of knowledge, or small talk."""
MOST = 3
"""Tools that one line may ask for."""
_NAMES = re.compile(r"\b[ct]-\d+|\d\s*%|\b\d:\d|(?<!\w)\.{0,2}/\w")
"""Candidates, shares, patterns, paths: whoever names one asks for something that words alone cannot give."""
CHOICE = f"""A person types a line into a program that prunes language models: it removes weights, heads or blocks in a
run of many candidates, measures them, and exports the result. Which of its tools does the line ask for, in the order of
the line? Mostly it is one. Name `{WORDS}` where none of them does what is asked. Lines, and the tools they ask for:"""
ARGUMENTS = """A person types a line into a program that prunes language models. Fill in the arguments of the tool
from the line. Leave out what the line does not name. 50 % is 0.5, half is 0.5, 10 more minutes is 10."""
ANSWER = """You help a person prune language models (remove weights, layers or heads so that they become smaller or
faster). Answer in their language in two or three sentences. Say no number that they did not say. You cannot do anything
yourself: say so where something is to be done that is not pruning, measuring or exporting a model."""


class Small(Asked):
    """The grammar where it reads a line, else a small model: first which tools, then their arguments."""

    def __init__(self, quiet: Connection, aloud: Connection, otherwise: Other | None = None) -> None:
        """`quiet` is asked for calls, which nobody needs to see; `aloud` for words; `otherwise` where it fails."""
        super().__init__(otherwise)
        self._quiet, self._aloud = quiet, aloud
        self.alone = False
        """Without the grammar: for those who measure the model."""

    @property
    def name(self) -> str:
        """As the settings call it."""
        return self._aloud.name

    def warm(self) -> None:
        """Have a server read the menu before the first line comes: that takes longest, and it is kept."""
        if self._quiet.hosted:
            threading.Thread(target=self._read_menu, daemon=True).start()

    def _read_menu(self) -> None:
        early = Small(replace(self._quiet, patience=WARM, attempts=1), self._aloud)
        with suppress(Unusable, Stopped):  # whoever speaks will be told
            early._calls("help")

    def answer(self, messages: Sequence[BaseMessage], session: Session) -> AIMessage:
        """Calls for what was said, the results of those that were made, or words without a number of its own."""
        last = messages[-1]
        if isinstance(last, ToolMessage) or grammar.quick(last.text) is not None:
            return self._rules.answer(messages, session)
        read = self._rules.answer(messages, session)
        if not self.alone and (read.tool_calls or not read.text.startswith(grammar.STRANGE)):
            return read
        return self._or_else(lambda: self._answered(messages, read), lambda: read, messages, session)

    def _answered(self, messages: Sequence[BaseMessage], read: AIMessage) -> AIMessage:
        """Calls, or words; what the rules read where it says nothing, or chose what it could not fill in: an order is
        not answered with an essay."""
        line = messages[-1].text
        calls = self._calls(line)
        if calls is None:
            return read
        if calls:
            return calling(calls, f"said/{len(messages)}")
        said = self._ask(self._aloud, [SystemMessage(ANSWER), HumanMessage(line)]).text.strip()
        sources = [message.text for message in messages if isinstance(message, HumanMessage)]
        return AIMessage(marked(said, sources)) if said else AIMessage(f"({self.name} said nothing)\n{read.text}")

    def _calls(self, line: str) -> list[Call] | None:
        """The calls that a line asks for; empty where it asks for words, None where one cannot be filled in."""
        offered = [_choice(words=True), *([_choice(words=False)] if _NAMES.search(line) else [])]
        chosen = self._ask(self._quiet, [SystemMessage(_menu()), HumanMessage(line)], *offered)
        names = [name for call in chosen.tool_calls for name in call["args"].get("tools", []) if name in TOOLS]
        calls: list[Call] = []
        for name in list(dict.fromkeys(names))[: grammar.parts(line)]:
            tool = self._filled(TOOLS[name], line)
            if tool is None:
                return None
            args = tool.model_dump(mode="json", exclude_defaults=True)
            calls.append(Call(name=name, args=args, plan=""))
        return calls if _all_numbers(line, calls) else None

    def _filled(self, kind: type[SessionTool], line: str) -> SessionTool | None:
        """A tool with what the line says of it; None where what it needs is not said."""
        args: dict[str, Any] = {}
        if list(kind.model_fields) not in ([], ["words"]):
            asked = [SystemMessage(_arguments(kind.called())), HumanMessage(line)]
            args = next((call["args"] for call in self._ask(self._quiet, asked, described(kind)).tool_calls), {})
        kept = said_of(kind, args, line)
        if kind in (Prune, Foresee) and not kept:  # of an order something is said
            return None
        try:
            return kind.model_validate(kept)
        except ValidationError:
            return None

    def _ask(self, connection: Connection, messages: Sequence[BaseMessage], *tools: Any) -> AIMessage:
        """An answer in words, or a call of the last tool; what is read begins with the first, so that it is kept."""
        self._turn += 1
        model: Any = JournalledModel(connection=connection, topic=f"talk/{self._turn}")
        for tool in tools:
            model = model.bind_tools([tool])
        said: AIMessage = model.invoke(messages)
        return said


def said_of(kind: type[SessionTool], args: dict[str, Any], line: str) -> dict[str, Any]:
    """The arguments whose values the line says; words that a tool takes whole are the line itself."""
    kept = {name: value for name, value in args.items() if name in kind.model_fields and _is_said(value, line)}
    if "%" in line and isinstance(of := kept.get("speedup"), int | float) and of not in _factors(line):
        del kept["speedup"]  # a share is no factor: 150 % is not 1.5 times as fast
    needs = [name for name, field in kind.model_fields.items() if field.is_required()]
    return {**kept, **({"words": line} if needs == ["words"] else {})}


def _is_said(value: Any, line: str) -> bool:
    match value:
        case bool() | None:
            return False  # a switch keeps its default
        case int() | float():
            return any(isclose(value, number, rel_tol=0.015) for number in _numbers(line))  # a third is 0.33
        case str():
            return bool(_letters(value)) and _letters(value) in _letters(line)
        case list() | tuple():
            return bool(value) and all(_is_said(one, line) for one in value)
        case _:
            return False


def _factors(line: str) -> set[float]:
    """The numbers of a line that stand without a per cent sign."""
    return {float(text.replace(",", ".")) for text in re.findall(r"\d+(?:[.,]\d+)?(?![\d.,]*\s*%)", line)}


def _all_numbers(line: str, calls: Sequence[Call]) -> bool:
    """Whether every number of a line is in some argument: what would be done otherwise is not what was said."""
    held = json.dumps([call["args"] for call in calls])
    done = {float(text) for text in re.findall(r"\d+(?:\.\d+)?", held)}
    for text in re.findall(r"(?<![\w.:/-])\d+(?:[.,]\d+)?(?=[\s%x,.;?!]|$)", line):
        number = float(text.replace(",", "."))
        if text not in held and not any(
            isclose(number / scale, value, rel_tol=0.015) for value in done for scale in (1, 100)
        ):
            return False
    return True


def _letters(text: str) -> str:
    """For a comparison: without what is written in several ways, `arc_easy` and `ARC easy`."""
    return re.sub(r"[\s_\-'\"]+", "", text.casefold())


def _numbers(line: str) -> set[float]:
    """The numbers of a line, in words too, and as shares."""
    found = {float(text.replace(",", ".")) for text in re.findall(r"\d+(?:[.,]\d+)?", line)}
    found |= grammar.numbers(line)
    return found | {number / 100 for number in found}


@cache
def _choice(*, words: bool) -> StructuredTool:
    """Which tools, as a tool of its own: so every format of calls can ask for it; `words`: or none of them."""
    names: Any = Literal[(*TOOLS, *([WORDS] if words else []))]
    asked: type[BaseModel] = create_model("Choice", tools=(list[names], Field(min_length=1, max_length=MOST)))
    return StructuredTool.from_function(
        lambda **arguments: None, name="choose", description="The tools that the line asks for.", args_schema=asked
    )


@cache
def _menu() -> str:
    """Lines with their tools, as they are to be answered; the same each time, so that servers keep it read."""
    told = [(example, [call.name for call in calls]) for example, calls in grammar.meanings()]
    told += [("write an e-mail to my boss", [WORDS]), ("hello there", [WORDS])]
    return "\n".join([CHOICE, *(f"{line} -> {json.dumps(names)}" for line, names in told)])


@cache
def _arguments(name: str) -> str:
    """How the arguments of one tool are read from lines."""
    told = [(line, call.args) for line, calls in grammar.meanings() for call in calls if call.name == name]
    return "\n".join([ARGUMENTS, *(f"{line} -> {json.dumps(args)}" for line, args in told)])
