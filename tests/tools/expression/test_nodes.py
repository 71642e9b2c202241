"""The tree of a formula."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools.expression.trees import handy, trees
from tools.expression import ALLOCATION, METRIC, Node, Terminal, evaluate, parse, size
from tools.expression.nodes import replaced, walk
from tools.io.errors import SecateurError


@settings(deadline=None, max_examples=100)
@given(trees(METRIC, handy), st.data())
def test_replacing_a_part_touches_only_that_part(node: Node, data: st.DataObject) -> None:
    parts = list(walk(node))
    place = data.draw(st.integers(0, len(parts) - 1))
    changed = replaced(node, place, Terminal("new"))
    assert list(walk(changed))[place] == Terminal("new")
    assert size(changed) == size(node) - size(parts[place]) + 1
    assert replaced(changed, place, parts[place]) == node


def test_a_part_that_is_not_there() -> None:
    with pytest.raises(IndexError):
        replaced(parse("W * X"), 3, Terminal("W"))


def test_a_formula_that_reads_nothing_ranks_nothing() -> None:
    with pytest.raises(SecateurError, match=r"0\.5 reads no statistic, which ranks nothing"):
        evaluate(parse("0.5", ALLOCATION), {})
