"""Every pane, at every size and of runs with little to say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import OptionList

from runs.events import SurveyDone
from tests.tui.app.panes.host import Host, settle, shown, view_of
from tui.app.panes.layers import LayersPane
from tui.app.panes.memory import MemoryPane
from tui.app.panes.progress import ProgressPane
from tui.app.panes.thoughts import ThoughtsPane
from tui.app.view import RunView
from tui.app.widgets.bars import bar
from tui.app.widgets.flow import flow

SIZES = [(40, 20), (100, 40)]


@pytest.mark.parametrize("size", [*SIZES, (20, 6)])
def test_every_pane_shows_a_new_and_a_finished_run_at_every_size(
    story: Any, tmp_path: Path, size: tuple[int, int]
) -> None:
    async def drive(host: Host, pilot: Pilot[None]) -> None:
        for view in (RunView(), view_of(story.events)):
            host.pane.show(view)
            await settle(host, pilot)
        assert host.text.strip()

    story.whole()
    for pane in (LayersPane(), ThoughtsPane(), ProgressPane(), MemoryPane(tmp_path)):
        shown(pane, drive, size=size)


def test_a_survey_without_numbers_is_no_error(story: Any) -> None:
    async def drive(host: Host, pilot: Pilot[None]) -> None:
        survey = SurveyDone(
            parameters=1, blocks=2, fingerprint="f", dtype="float32", seconds=1.0, units={"size": (1, 2)}
        )
        pane.show(view_of([*story.start().events, survey]))
        await pilot.press("alt+s")
        assert pane.query_one(OptionList).option_count == 2

    pane = LayersPane()
    shown(pane, drive)


def test_bars_and_lines_never_outgrow_their_width() -> None:
    assert [bar(share, 4) for share in (-1.0, 0.0, 0.53, 1.0, 7.0, float("nan"))] == [
        "    ",
        "    ",
        "██▏ ",
        "████",
        "████",
        "    ",
    ]
    assert flow(["skew 1.2", "size 3", "a part that is too long", "x"], 17) == (
        "skew 1.2   size 3\na part that is too long\nx"
    )
    assert flow([], 10) == ""
