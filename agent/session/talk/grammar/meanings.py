"""What others ask the grammar about a line: what its examples mean, and which numbers it says."""

from __future__ import annotations

from agent.session.talk.grammar.amounts import amounts
from agent.session.talk.grammar.offers import EXAMPLES
from agent.session.talk.grammar.requests import calls_of
from agent.session.talk.grammar.tokens import heard
from agent.session.talk.grammar.words import written


def meanings() -> list[tuple[str, str]]:
    """Every example with the name of the tool that it asks for."""
    return [(example, call.name) for example in EXAMPLES for call in calls_of(example)]


def numbers(line: str) -> set[float]:
    """The numbers of a line, in figures or in words, shares as shares."""
    found = [token.value for token in amounts(heard(written(line))[1])]
    return {float(value) for value in found if isinstance(value, int | float)}
