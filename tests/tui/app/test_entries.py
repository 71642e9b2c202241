"""An entry lays the conversation out anew only where it has another number of rows."""

from __future__ import annotations

import asyncio

import pytest
from textual.app import App, ComposeResult

from tests.tui.app.test_keys import layouts
from tui.app.view import RunView, Speech
from tui.app.widgets.entries import Said


def test_words_that_fill_a_row_lay_nothing_out_and_another_row_does(monkeypatch: pytest.MonkeyPatch) -> None:
    speech = Speech("0/design/1", text="Block 0")
    widget = Said(speech)

    class Alone(App[None]):
        def compose(self) -> ComposeResult:
            yield widget

    async def steps() -> None:
        async with Alone().run_test(size=(60, 10)) as pilot:
            widget.show(RunView())
            await pilot.pause()
            counted = layouts(monkeypatch)
            for word in (" is", " the", " most", " sensitive"):
                speech.text += word
                widget.show(RunView())
                await pilot.pause()
            assert "Block 0 is the most sensitive" in shown(widget)
            assert len(counted) == 0
            speech.text += " of them all, so the proposals spare it"
            widget.show(RunView())
            await pilot.pause()
            assert len(counted) == 1
            assert widget.size.height == 3

    asyncio.run(steps())


def shown(widget: Said) -> str:
    return "\n".join("".join(part.text for part in widget.render_line(row)) for row in range(widget.size.height))


def test_a_thought_is_open_while_it_is_had_and_folded_when_there_is_an_answer() -> None:
    speech = Speech("0/design/1", thinking="Rank 9 moves", text="**Spare** block 0")
    widget = Said(speech)

    def text() -> str:
        widget.show(RunView(), 60)
        assert widget._drawn is not None
        return widget._drawn.plain

    assert text() == "▾ thinking  0/design/1\nRank 9 moves\n  Spare block 0"
    speech.done = True
    assert text() == "▸ thinking  0/design/1  **Spare** block 0"
    widget.toggled = True
    assert text() == "▾ thinking  0/design/1\nRank 9 moves\n  Spare block 0"
    speech.thinking, widget.toggled = "", False
    assert text() == "designer  0/design/1\n  Spare block 0"
    assert widget.copied == "**Spare** block 0"
