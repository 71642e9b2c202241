"""Answers in the app: Markdown of models is set, formulas and tables of tools stay as they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.app.widgets.prose import prose


def test_markdown_is_set() -> None:
    found = prose("# Layers\n**Block 0** matters most, by `sqr(W) * X`:\n- spare it, as c-12 did and c-14", 30, 4)
    assert found.plain == (
        "Layers\n    Block 0 matters most, by\n    sqr(W) * X:\n    • spare it, as c-12 did and\n      c-14"
    )
    styles = {found.plain[span.start : span.end]: str(span.style) for span in found.spans}
    assert styles == {"Layers": "bold", "Block 0": "bold", "sqr(W) * X": "$text-accent"}


def test_fenced_code_keeps_its_lines() -> None:
    code = "def f(x):\n\n    return x"
    assert prose(f"So:\n```python\n{code}\n```\nDone.", 30, 0).plain == f"So:\n{code}\nDone."
    assert prose(f"~~~\n{'x' * 50}\n~~~", 30, 2).plain == f"{'x' * 30}\n  {'x' * 20}"
    assert "```" in prose("So:\n```python\nnever closed", 30, 0).plain


@pytest.mark.parametrize(
    "text",
    [
        "W * X ** 2 ** X",
        "c-1 is sqr(W) * X * D, c-2 is W * X",
        "2 * 3 * 4",
        "name__of__it and **",
        "a`b`c",
        "#3 of 4",
        "1.5 GB",
        "   c-1    0.412   W * X",
    ],
)
def test_what_is_no_markdown_stays(text: str) -> None:
    assert prose(text, 80, 0).plain == text


@given(st.text("ab *`#-1.\n_~", max_size=60), st.integers(0, 40))
def test_no_word_is_lost(text: str, width: int) -> None:
    kept = [sign for sign in prose(text, width, 2).plain if sign in "ab"]
    assert kept == [sign for sign in text if sign in "ab"] or "```" in text or "~~~" in text
