"""From a designer's name to the designer: `builtin`, `openai:NAME`, `local:PATH`, `self`, `replay:JOURNAL`, any
`provider:NAME` that langchain knows, or several language models with commas between them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.breeding.genes import ALLOCATION_TERMINALS
from agent.designers import Designer
from agent.designers.builtin import Builtin
from agent.kinds import kind_of
from agent.recorder import Recorder
from agent.situation import pool_of
from runs.designers import SIMPLE, designers_of
from runs.events import Note
from runs.goal import Goal
from tools.io.errors import SecateurError, UsageError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from agent.llm.connection import Connection
    from agent.llm.turns import Turns
    from runs.fold.history import History

NAMES = (*SIMPLE, "self")
MOST_MEMBERS = 4
"""Language models of an ensemble."""
MOST_TOKENS = 8192
"""Tokens of one answer, thinking included."""
TIMEOUT = 120.0
"""Seconds without a byte after which a call counts as lost."""


def designer(goal: Goal, record: Recorder, home: Path) -> Designer:
    """Make the designer that a goal names. Of a kind with nothing to design `builtin` tries the published methods.

    Raises:
        UsageError: it is not known, or what it needs is not there.
    """
    if not kind_of(goal.pattern).designed and goal.designer != "builtin":
        record(Note(text=f"{goal.designer} is not asked: for {goal.pattern} the published methods are compared"))
        return Builtin()
    if goal.designer == "builtin":
        return Builtin()
    if goal.designer == "random":
        from agent.designers.random import RandomSearch

        return RandomSearch()
    if goal.designer == "evolution":
        from agent.designers.evolution import Evolution

        return Evolution()
    from agent.designers.language import LanguageModel
    from agent.llm.turns import Turns
    from agent.prompts.prompt import Style

    turns = Turns()
    return LanguageModel(goal.designer, _members(goal, record, home, turns), record, Style(goal.prompting), home, turns)


def check(name: str) -> None:
    """Refuse a name that can be no designer, before a run is made for it.

    Raises:
        UsageError: the line says what names there are, which variable is missing, or what no ensemble has.
    """
    members = designers_of(name)
    for member in members:
        _check(member)
    if len(members) == 1:
        return
    if other := [member for member in members if member in SIMPLE or member.startswith("replay:")]:
        raise UsageError(f"{other[0]} is no language model: an ensemble has only such members; leave it out of {name}")
    if twice := [member for member in members if members.count(member) > 1]:
        raise UsageError(f"{twice[0]} is named twice: name every member of an ensemble once")
    if len(members) > MOST_MEMBERS:
        raise UsageError(f"{len(members)} designers are named, and an ensemble has at most {MOST_MEMBERS}")
    _check_served(members)


def _check_served(members: Sequence[str]) -> None:
    """Refuse a member that a server of one's own has not, as far as it tells; what serves one model alone may take any
    name for it."""
    from agent.session.endpoints import served

    base = os.environ.get("OPENAI_BASE_URL")
    asked = [rest for kind, _, rest in (member.partition(":") for member in members) if kind == "openai"]
    there = (served(base) if base and asked else None) or []
    if len(there) == len(asked) == 1:
        return
    for model in asked:
        if there and not {model, f"{model}:latest"} & {*there}:
            raise UsageError(f"openai:{model} is not to be had: {base} serves {', '.join(there)}")


def _check(name: str) -> None:
    kind, colon, rest = name.partition(":")
    if name in NAMES:
        return
    if not colon or not kind or not rest:
        raise UsageError(
            f'designer "{name}" is not known: use {", ".join(NAMES)}, openai:NAME, local:PATH or another provider:NAME'
        )
    if kind == "openai" and not (os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL")):
        raise UsageError(f"{name} needs OPENAI_API_KEY, or OPENAI_BASE_URL for a server of your own; neither is set")


def _replayed(goal: Goal) -> History:
    """What the journal that a `replay:` designer names has come to.

    Raises:
        SecateurError: there is no such journal.
    """
    from runs.fold.history import History
    from runs.journal import Journal

    path = Path(goal.designer.partition(":")[2])
    if not path.exists():
        raise SecateurError(f"{path} is not there: a replay needs the journal of the run")
    return History.of(Journal(path).read())


def _members(goal: Goal, record: Recorder, home: Path, turns: Turns) -> list[Connection]:
    """Connections to every language model of a designer; of an ensemble that is replayed, to none under its names."""
    from agent.llm.connection import Connection

    if not goal.designer.startswith("replay:"):
        check(goal.designer)
        return [_connection(goal.model_copy(update={"designer": name}), record, home, turns) for name in goal.designers]
    before = _replayed(goal)
    own = () if before.goal is None else before.goal.designers
    names = own if len(own) > 1 else (goal.designer,)
    return [Connection(name, None, record, None, before.answers, turns=turns) for name in names]


def _connection(goal: Goal, record: Recorder, home: Path, turns: Turns) -> Connection:
    from agent.llm.connection import Connection, formats_of
    from agent.llm.prices import price_of

    name = goal.designer
    price = price_of(name, home)
    if price is None and not name.startswith(("self", "local:")) and goal.budget.money is not None:
        raise UsageError(f"the price of {name} is not known, so money cannot be capped: name it in {home}/prices.toml")
    if price is None and name.startswith("openai:") and not os.environ.get("OPENAI_BASE_URL"):
        record(Note(text=f"the price of {name} is not known: money is not counted. Name it in {home}/prices.toml"))
    return Connection(
        name,
        chat_model(goal, home),
        record,
        price,
        formats=formats_of(name),
        stopped=turns.leaves(record.stopping),
        turns=turns,
    )


def chat_model(goal: Goal, home: Path, tokens: int = MOST_TOKENS) -> BaseChatModel:
    """The chat model behind a designer's name, which writes at most so many tokens at a time.

    Raises:
        UsageError: its provider's package is missing or does not know the name.
    """
    kind, _, rest = goal.designer.partition(":")
    if kind in ("self", "local"):
        return _local(rest or goal.model, goal, home, tokens)
    if kind == "openai":
        from agent.llm.openai import open_chat

        return open_chat(rest, seed=goal.seed, timeout=TIMEOUT, tokens=tokens)
    from langchain.chat_models import init_chat_model

    try:
        found: Any = init_chat_model(goal.designer, timeout=TIMEOUT, max_retries=0, max_tokens=tokens)
    except (ImportError, ValueError) as error:
        raise UsageError(f'designer "{goal.designer}": {" ".join(str(error).split())}') from error
    model: BaseChatModel = found
    return model


def _local(name: str, goal: Goal, home: Path, tokens: int) -> BaseChatModel:
    """A model on this machine, whose formulas read what the run collects."""
    from agent.llm.guided_calls import Terminals
    from agent.llm.local import LocalChatModel

    readable = Terminals(tuple(sorted(pool_of(goal).metric_terminals)), tuple(sorted(ALLOCATION_TERMINALS)))
    most = min(tokens, LocalChatModel.model_fields["max_tokens"].default)
    return LocalChatModel.open(
        name, cache=home / "cache", device=goal.device, seed=goal.seed, terminals=readable, max_tokens=most
    )
