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
from tools.io.files import reason

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from agent.llm.journalled import Line

NAMES = ("builtin", "random", "evolution", "self")
TIMEOUT = 120.0
"""Seconds without a byte after which a call counts as lost."""


def designer(goal: Goal, record: Recorder, home: Path) -> Designer:
    """Make the designer that a goal names. Where experts fall there is nothing to design: `builtin` tries the methods.

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
    from agent.prompting import Style

    return LanguageModel(_line(goal, record, home), Style(goal.prompting), home)


def listens(goal: Goal) -> bool:
    """Whether what a person says reaches the designer: a language model reads it with its next prompt."""
    reads = goal.designer == "self" or (":" in goal.designer and not goal.designer.startswith("replay:"))
    return goal.searches and reads and kind_of(goal.pattern).designed


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


def replayed(goal: Goal) -> list[Answered]:
    """The answers in the journal that a `replay:` designer names.

    Raises:
        SecateurError: there is no such journal.
    """
    from runs.journal import Journal

    path = Path(goal.designer.partition(":")[2])
    if not path.exists():
        raise SecateurError(f"{path} is not there: a replay needs the journal of the run")
    return [event for event in Journal(path).read() if isinstance(event, Answered)]


def _line(goal: Goal, record: Recorder, home: Path) -> Line:
    from agent.llm.journalled import Line, Way
    from agent.llm.prices import price_of

    name = goal.designer
    if name.startswith("replay:"):
        return Line(name, None, record, None, {answer.call: answer for answer in replayed(goal)})
    check(name)
    price = price_of(name, home)
    if price is None and not name.startswith(("self", "local:")) and goal.budget.money is not None:
        raise UsageError(f"the price of {name} is not known, so money cannot be capped: name it in {home}/prices.toml")
    if price is None and name.startswith("openai:") and not os.environ.get("OPENAI_BASE_URL"):
        record(Note(text=f"the price of {name} is not known: money is not counted. Name it in {home}/prices.toml"))
    ways = [Way.NATIVE, Way.SCHEMA, Way.TEXT] if name.startswith("openai:") else [Way.NATIVE, Way.TEXT]
    return Line(name, chat_model(goal, home), record, price, ways=ways)


def chat_model(goal: Goal, home: Path) -> BaseChatModel:
    """The chat model behind a designer's name.

    Raises:
        UsageError: its provider's package is missing or does not know the name.
    """
    kind, _, rest = goal.designer.partition(":")
    if kind in ("self", "local"):
        from agent.llm.calls import Terminals
        from agent.llm.local import LocalChatModel

        readable = Terminals(tuple(sorted(pool_of(goal).metric_terminals)), tuple(sorted(ALLOCATION_TERMINALS)))
        return LocalChatModel.open(
            rest or goal.model, cache=home / "cache", device=goal.device, seed=goal.seed, terminals=readable
        )
    if kind == "openai":
        return _openai(rest, goal.seed)
    from langchain.chat_models import init_chat_model

    try:
        found: Any = init_chat_model(goal.designer, timeout=TIMEOUT, max_retries=0)
    except (ImportError, ValueError) as error:
        raise UsageError(f'designer "{goal.designer}": {" ".join(str(error).split())}') from error
    model: BaseChatModel = found
    return model


def _openai(name: str, seed: int) -> BaseChatModel:
    """Retries and time are this program's business; the responses protocol is not what local servers speak."""
    from agent.designers.thinking import ThinkingChatOpenAI

    base = os.environ.get("OPENAI_BASE_URL") or None
    try:
        return ThinkingChatOpenAI(
            model=name,
            api_key=lambda: os.environ.get("OPENAI_API_KEY") or "none",
            base_url=base,
            use_responses_api=False,
            stream_usage=True,
            max_retries=0,
            timeout=TIMEOUT,
            seed=seed,
        )
    except Exception as error:  # of the HTTP client, which reads the address
        raise UsageError(f"OPENAI_BASE_URL cannot be used: {reason(error)}") from error
