"""The pane of layers: rates, statistics and what is missing."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import OptionList

from runs.candidate import Candidate
from runs.events import CandidateProposed
from tests.tui.app.panes.host import Host, shown, view_of
from tools.recipe import NM, Allocation, Recipe
from tui.app.panes.layers import Heading, LayersPane


def measure_rates(story: Any, name: str, value: float, rates: tuple[float, ...]) -> None:
    story.measure(name, value)
    story.events[-1] = story.events[-1].model_copy(update={"rates": rates})


def propose(story: Any, name: str, recipe: Recipe, why: str) -> None:
    story.events.append(
        CandidateProposed(at=story.at(), candidate=Candidate(id=name, recipe=recipe, operator="seed", why=why))
    )


@pytest.fixture
def layered(story: Any) -> Any:
    """c-1 spares the first block and leads; c-2 is uniform; c-3 is 2:4."""
    story.start().survey()
    skewed = Recipe(metric="W * X", sparsity=0.5, allocation=Allocation(expression="skew", width=0.1))
    propose(story, "c-1", skewed, "block [0] is skewed")
    measure_rates(story, "c-1", 0.5, (0.35, 0.53, 0.5, 0.625))
    propose(story, "c-2", Recipe(metric="W", sparsity=0.5), "plain")
    measure_rates(story, "c-2", 0.9, (0.5, 0.5, 0.5, 0.5))
    propose(story, "c-3", Recipe(metric="W", sparsity=0.5, pattern=NM(n=2, m=4)), "for speed")
    story.measure("c-3", 1.5)
    return story


def test_layers_tell_the_rates_of_the_leading_candidate_and_why(layered: Any) -> None:
    async def drive(host: Host, pilot: Pilot[None]) -> None:
        pane.show(view_of(layered.events))
        await pilot.pause()
        assert "c-1 leads skew ±0.1 per block allocation: a higher value keeps more block [0] is skewed" in host.words
        rows = [" ".join(line.replace("█", "").split()) for line in host.text.splitlines() if "%" in line]
        assert [row.split()[0] for row in rows] == ["0", "1", "2", "3"]
        assert [row.split(" %")[0].split()[-1] for row in rows] == ["35.0", "53.0", "50.0", "62.5"]
        assert [row.split(" %")[1].split()[0] for row in rows] == ["2.20", "1.40", "1.50", "1.30"]
        full = [line.count("█") for line in host.text.splitlines() if "%" in line]
        assert full[0] == max(full)  # the statistic's bar of the most skewed block spans its column

    pane = LayersPane()
    shown(pane, drive)


def test_layers_follow_a_choice_and_name_what_has_no_rates(layered: Any) -> None:
    async def drive(host: Host, pilot: Pilot[None]) -> None:
        pane.show(view_of(layered.events))
        pane.choose("c-2")
        await pilot.pause()
        assert "uniform allocation: every block gives the same share plain" in host.words
        assert "leads" not in host.words
        pane.choose("c-3")
        await pilot.pause()
        assert "2:4 prescribes the rate of every block: 50.0 %" in host.words
        assert "53.0 %" not in host.words
        assert "skew 1.30 to 2.20" in host.words
        pane.choose(None)
        await pilot.pause()
        assert "c-1 leads" in host.words

    pane = LayersPane()
    shown(pane, drive)


def test_layers_change_the_statistic_by_key_and_by_click_and_tell_a_block_in_full(layered: Any) -> None:
    async def drive(host: Host, pilot: Pilot[None]) -> None:
        layered.final("c-1", 41.9, "W * X")
        pane.show(view_of(layered.events))
        await pilot.pause()
        pane.query_one(OptionList).focus()
        await pilot.press("alt+s")
        assert "redundancy 0.000 to 0.300" in host.words  # kurtosis and outliers are not in this survey
        await pilot.click(Heading)
        assert "skew 1.30 to 2.20" in host.words
        assert "block 0 skew 2.20 redundancy 0.000 measured zeros q 40.0 % k 60.0 %" in host.words
        await pilot.press("down", "down")
        assert "block 2 skew 1.50 redundancy 0.200" in host.words
        assert "measured zeros" not in host.words
        layered.measure("c-2", 0.95, tokens=16384)
        pane.show(view_of(layered.events))
        await pilot.pause()
        assert "c-2 leads" in host.words
        assert pane.query_one(OptionList).highlighted == 2

    pane = LayersPane()
    shown(pane, drive)


def test_layers_say_what_is_missing(story: Any) -> None:
    async def drive(host: Host, pilot: Pilot[None]) -> None:
        pane.show(view_of(story.start().events))
        await pilot.press("alt+s")
        assert "No statistics of the blocks yet" in host.words
        pane.show(view_of(story.survey(skew=(1.0, float("nan"), 3.0)).events))
        await pilot.pause()
        assert "No candidate is measured yet" in host.words
        assert "skew 1.00 to 3.00" in host.words
        assert "nan" in host.words
        story.propose("c-1", "W")
        pane.show(view_of(story.events))
        pane.choose("c-1")
        await pilot.pause()
        assert "Rates of the blocks come with the first measurement: waits to be measured." in host.words

    pane = LayersPane()
    shown(pane, drive)
