"""Reading intents with a language model; what it cannot read, the rules do."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage
from pydantic import ValidationError

from agent.session.settings import Settings
from agent.session.talk import rules
from agent.session.talk.intents import ALL, Intent
from runs.goal import Goal

TASK = """You are the ear of a program that prunes language models. Call the one tool that says what the person means
by the last line. Do not answer, do not invent values that were not said. The lines before it are context."""

MOST_PIECES = 1000
"""An answer is a call of a few words; a model that goes on and on is not heard to its end."""


def read(text: str, before: Sequence[str], model: BaseChatModel) -> tuple[Intent, str]:
    """The intent of one line, and why the rules had to read it where the model could not (else empty)."""
    said = "\n".join([*(f"earlier: {line}" for line in before[-6:]), f"now: {text}"])
    try:
        bound: Any = model.bind_tools(list(ALL), tool_choice="any")
        pieces = itertools.islice(bound.stream([SystemMessage(TASK), HumanMessage(said)]), MOST_PIECES)
        reply = functools.reduce(operator.add, pieces)
        call = reply.tool_calls[0]
        kind = next(kind for kind in ALL if kind.__name__ == call["name"])
        return kind.model_validate(call["args"]), ""
    except (IndexError, StopIteration, TypeError, ValidationError):
        return rules.read(text), "the language model gave no usable reading"
    except Exception as error:  # whatever a server or its client trips over; the line is still read
        return rules.read(text), f"the language model could not be asked ({type(error).__name__})"


def listener(settings: Settings) -> BaseChatModel | None:
    """The language model that reads what is said, where the designer is one behind an endpoint.

    Raises:
        UsageError: the designer is not known, or what it needs is not there.
    """
    name = settings.values.designer
    if ":" not in name or name.startswith(("local:", "replay:")):
        return None
    from agent.designers.choose import chat_model, check

    check(name)
    return chat_model(Goal(model="-", sparsity=0.5, designer=name), settings.home)
