"""What a language model thinks is a folded line that opens."""

from __future__ import annotations

from tui.app.view import THINKING, Generation, RunView, Speech, Words
from tui.app.widgets.entries import Line
from tui.app.widgets.folded import told_in_full
from tui.app.widgets.links import ids

LONG = "The first block is skewed, so it should be spared. " * 10


def test_a_thought_in_the_conversation_is_one_line_until_it_is_opened() -> None:
    line = Line(Words(THINKING, LONG, said=True))
    folded = line._content(RunView()).plain
    assert folded.startswith("▸ thinking  The first block")
    assert "\n" not in folded
    assert folded.endswith("…")
    assert line.opens == []  # so that Enter unfolds it
    line.toggled = True
    assert line._content(RunView()).plain.count("skewed") == 10


def test_a_thought_in_a_generation_opens_by_the_id_of_its_call() -> None:
    view = RunView()
    told = told_in_full(Generation(3, [Speech("3/design-2/1", LONG, "", done=True)]), view, 60).plain
    assert "▸ thinking 3/design-2/1   The first" in told
    assert ids(told) == ["3/design-2/1"]
