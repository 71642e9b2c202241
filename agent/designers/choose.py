"""From a designer's name to the designer: `builtin`, `openai:NAME`, `local:PATH`, `self`, `replay:JOURNAL`, or any
`provider:NAME` that langchain knows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.breeding.genes import ALLOCATION_TERMINALS
from agent.designers import Designer
from agent.designers.builtin import Builtin
from agent.kinds import kind_of
from agent.recorder import Recorder
from agent.situation import pool_of
from runs.events import Answered, Note
from runs.goal import Goal
from tools.io.errors import SecateurError, UsageError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from agent.llm.connection import Connection

NAMES = ("builtin", "random", "evolution", "self")
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
    from agent.prompts.prompt import Style

    return LanguageModel(_connection(goal, record, home), record, Style(goal.prompting), home)


def check(name: str) -> None:
    """Refuse a name that can be no designer, before a run is made for it.

    Raises:
        UsageError: the line says what names there are, or which variable is missing.
    """
    kind, colon, rest = name.partition(":")
    if name in NAMES:
        return
    if not colon or not kind or not rest:
        raise UsageError(
            f'designer "{name}" is not known: use {", ".join(NAMES)}, openai:NAME, local:PATH or another provider:NAME'
        )
    if kind == "openai" and not (os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL")):
        raise UsageError(f"{name} needs OPENAI_API_KEY, or OPENAI_BASE_URL for a server of your own; neither is set")


def replayed(goal: Goal) -> dict[str, Answered]:
    """The answers in the journal that a `replay:` designer names.

    Raises:
        SecateurError: there is no such journal.
    """
    from runs.fold.history import History
    from runs.journal import Journal

    path = Path(goal.designer.partition(":")[2])
    if not path.exists():
        raise SecateurError(f"{path} is not there: a replay needs the journal of the run")
    return History.of(Journal(path).read()).answers


def _connection(goal: Goal, record: Recorder, home: Path) -> Connection:
    from agent.llm.connection import Connection, formats_of
    from agent.llm.prices import price_of

    name = goal.designer
    if name.startswith("replay:"):
        return Connection(name, None, record, None, replayed(goal))
    check(name)
    price = price_of(name, home)
    if price is None and not name.startswith(("self", "local:")) and goal.budget.money is not None:
        raise UsageError(f"the price of {name} is not known, so money cannot be capped: name it in {home}/prices.toml")
    if price is None and name.startswith("openai:") and not os.environ.get("OPENAI_BASE_URL"):
        record(Note(text=f"the price of {name} is not known: money is not counted. Name it in {home}/prices.toml"))
    formats = formats_of(name)
    return Connection(name, chat_model(goal, home), record, price, formats=formats, stopped=record.stopping)


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
