"""The pane of the memory: searched when it is seen, made anew when it is broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, TabbedContent

from memory.index import Memory
from memory.remembered import of_run
from runs.fold.history import History
from tests.tui.app.panes.host import Host, settle, shown
from tui.app.panes.memory import MemoryPane


@pytest.fixture
def home(tmp_path: Path, story: Any) -> Path:
    """A home that remembers c-1 and c-2 of one run."""
    Memory(tmp_path).upsert(of_run(History.of(story.whole().events)))
    return tmp_path


def test_memory_is_searched_when_it_is_seen_and_by_words(home: Path) -> None:
    async def drive(host: Host, pilot: Pilot[None]) -> None:
        table = pane.query_one(DataTable)
        await settle(host, pilot)
        assert table.row_count == 0
        host.query_one(TabbedContent).active = "second"
        await settle(host, pilot)
        assert [str(table.get_cell_at((row, 0))) for row in range(table.row_count)] == ["1.000", "-"]
        assert "- 0.9000 calm-heron-7/c-2 tiny sqr(W) * X" in host.words
        pane.query_one(Input).focus()
        await pilot.press(*"w*x", "enter")
        await settle(host, pilot)
        assert table.row_count == 0
        assert "Nothing names all of these words" in host.words
        pane.query_one(Input).value = "sqr"
        await pilot.pause(0.4)
        await settle(host, pilot)
        assert table.row_count == 1
        await pilot.press("down", "enter")
        assert "perplexity 41.9 on the held-out text, dense 22.8, best reference 50.9" in host.words
        assert "sqr(W) * X, uniform allocation, compensation OBS, unstructured per row" in host.words

    pane = MemoryPane(home)
    shown(pane, drive, tabbed=True)


def test_an_empty_memory_says_what_to_do_and_a_broken_one_is_made_anew(tmp_path: Path) -> None:
    async def drive(host: Host, pilot: Pilot[None]) -> None:
        await settle(host, pilot)
        assert "Memory is empty." in host.words
        (tmp_path / "memory" / "chroma").mkdir(parents=True)
        (tmp_path / "memory" / "chroma" / "chroma.sqlite3").write_text("no database [at all]")
        pane.refresh_results()
        await settle(host, pilot)
        assert "Memory is empty." in host.words  # made anew from the runs, of which there are none
        assert (tmp_path / "memory" / "chroma.damaged" / "chroma.sqlite3").read_text() == "no database [at all]"

    pane = MemoryPane(tmp_path)
    shown(pane, drive)


def test_memory_drops_whole_columns_where_it_is_narrow(home: Path) -> None:
    async def drive(host: Host, pilot: Pilot[None]) -> None:
        await settle(host, pilot)
        assert "relative id recipe" in host.words
        await pilot.resize_terminal(100, 20)
        await pilot.pause()
        assert "relative KL id model recipe" in host.words

    pane = MemoryPane(home)
    shown(pane, drive, size=(40, 20))
