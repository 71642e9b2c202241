"""The panes, each alone in a small app: what they show of a run, and what their keys do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, OptionList, TabbedContent, TabPane, Tree

from memory.index import Memory
from memory.remembered import of_run
from runs.candidate import Candidate
from runs.events import CandidateProposed, Event, Extended, Likened, Stage, SurveyDone, Thought
from runs.fold.history import History
from runs.fold.thoughts import thought_graph
from runs.goal import Budget, Goal
from runs.report.front import front
from tools.recipe import NM, Allocation, Recipe
from tui.app.panes.layers import Heading, LayersPane
from tui.app.panes.memory import MemoryPane
from tui.app.panes.outline import outline
from tui.app.panes.pane import OpenCandidate, Pane
from tui.app.panes.progress import ProgressPane
from tui.app.panes.thoughts import ThoughtsPane
from tui.app.view import RunView
from tui.app.widgets.bars import bar
from tui.app.widgets.flow import flow
from tui.app.widgets.pareto import ParetoPlot, Point

SIZES = [(40, 20), (100, 40)]


class Host(App[None]):
    """One pane and what it asked for."""

    def __init__(self, pane: Pane, *, tabbed: bool = False) -> None:
        super().__init__()
        self.pane, self.tabbed, self.opened = pane, tabbed, list[str]()

    def compose(self) -> ComposeResult:
        if not self.tabbed:
            yield self.pane
            return
        with TabbedContent():
            with TabPane("first", id="first"):
                yield Input(id="other")
            with TabPane("second", id="second"):
                yield self.pane

    def on_open_candidate(self, message: OpenCandidate) -> None:
        self.opened.append(message.candidate)

    @property
    def text(self) -> str:
        """The whole screen."""
        strips = self.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip) for strip in strips)

    @property
    def words(self) -> str:
        """The screen as one line of words."""
        return " ".join(self.text.split())


def shown(
    pane: Pane, drive: Callable[[Host, Pilot[None]], Awaitable[None]], size: tuple[int, int] = (100, 40), **options: Any
) -> None:
    """Show the pane to `drive`."""

    async def play() -> None:
        host = Host(pane, **options)
        async with host.run_test(size=size) as pilot:
            await pilot.pause()
            await drive(host, pilot)

    asyncio.run(play())


def view_of(events: list[Event]) -> RunView:
    view = RunView()
    for event in events:
        view.observe(event)
    return view


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
        await pilot.press("s")
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
        await pilot.press("s")
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


@pytest.fixture
def family(story: Any) -> Any:
    """c-1 seed; c-2 of c-1 better; c-3 of c-1 worse; a hypothesis behind both, a lesson from them."""
    story.start().survey()
    story.events.append(Thought(id="t-1", kind="hypothesis", text="[red]X[/red] matters", generation=0))
    story.propose("c-1", "W").measure("c-1", 0.7)
    story.propose("c-2", "W * X", parents=("c-1",), thoughts=("t-1",)).measure("c-2", 0.5)
    story.propose("c-3", "W / (X + 1)", parents=("c-1",), thoughts=("t-1",), generation=1).measure("c-3", 0.9)
    story.events.append(Likened(candidate_id="c-3", correlations={"c-2": 0.97}))
    story.events.append(
        Thought(id="t-2", kind="lesson", text="keep X", about=("c-2", "c-2"), contradicts=("t-1",), generation=1)
    )
    return story


def told(lines: Any, depth: int = 0) -> list[str]:
    return [text for line in lines for text in ("  " * depth + line.whole, *told(line.children, depth + 1))]


def test_the_outline_tells_every_edge_once_and_in_words(family: Any) -> None:
    of_obs = ", compensation OBS, unstructured per row. a try"
    assert told(outline(thought_graph(History.of(family.events)))) == [
        "lessons",
        "  t-2  keep X",
        "    contradicts t-1",
        "    drawn from c-2",
        "generation 0  2 designs",
        "  t-1 hypothesis  [red]X[/red] matters",
        "    contradicted by t-2",
        "    supported by c-2, KL 0.200 saved",
        "    contradicted by c-3, KL 0.200 lost",
        "  c-1 KL 0.7000  W, uniform allocation" + of_obs,
        "    outcome  KL 0.7000 over 2,048 tokens",
        "  c-2 KL 0.5000  W * X, uniform allocation" + of_obs,
        "    outcome  KL 0.5000 over 2,048 tokens, 0.2000 less than c-1",
        "      supports t-1, KL 0.200 saved",
        "    derived from c-1, KL 0.200 saved",
        "    follows t-1",
        "generation 1  1 design",
        "  c-3 KL 0.9000  W / (X + 1), uniform allocation" + of_obs,
        "    outcome  KL 0.9000 over 2,048 tokens, 0.2000 more than c-1",
        "      contradicts t-1, KL 0.200 lost",
        "    derived from c-1, KL 0.200 lost",
        "    follows t-1",
        "    ranks like c-2 (0.97)",
    ]


def test_thoughts_open_candidates_and_follow_edges(family: Any) -> None:
    async def drive(host: Host, pilot: Pilot[None]) -> None:
        assert "No thoughts yet" in host.words
        pane.show(view_of(family.events))
        await pilot.pause()
        assert "No thoughts yet" not in host.words
        tree = pane.query_one(Tree)
        tree.focus()
        await pilot.press("down", "down")
        assert cursor(pane) == "t-2"
        await pilot.press("enter", "down", "enter")  # opens the lesson, goes to what it contradicts
        await pilot.pause()
        assert cursor(pane) == "t-1"
        assert "t-1 hypothesis [red]X[/red] matters" in host.words
        await pilot.press("down", "down", "enter")
        assert (cursor(pane), host.opened) == ("c-2", ["c-2"])
        await pilot.press("space", "down", "enter")
        assert (cursor(pane), host.opened) == ("o-2", ["c-2", "c-2"])
        await pilot.press("home", "enter", "space")
        assert "t-2 keep X" in host.words  # the lessons stay open

    pane = ThoughtsPane()
    shown(pane, drive)


def cursor(pane: ThoughtsPane) -> str:
    node = pane.tree_of_thoughts.cursor_node
    return "" if node is None or node.data is None else node.data.key


def test_thoughts_that_come_leave_the_cursor_and_what_is_open_alone(family: Any) -> None:
    async def drive(host: Host, pilot: Pilot[None]) -> None:
        view = view_of(family.events)
        pane.show(view)
        await pilot.pause()
        tree = pane.tree_of_thoughts
        tree.focus()
        await pilot.press(*["down"] * 6, "space")  # c-2, opened
        assert cursor(pane) == "c-2"
        node, first = tree.cursor_node, tree.root.children[1]
        await pilot.press("end")
        await pilot.press("up")
        assert cursor(pane) == "generation 1"
        await pilot.press("space")
        told = len(family.events)
        more = family.propose("c-4", "X", parents=("c-2",)).reject("c-4", "same as c-2").measure("c-2", 0.4, 16384)
        more.events.append(Thought(id="t-3", kind="lesson", text="stop", generation=1))
        for event in more.events[told:]:
            view.observe(event)
        pane.show(view)
        await pilot.pause()
        assert cursor(pane) == "generation 1"
        assert tree.root.children[1] is first
        assert node in first.children
        assert [node.is_expanded, tree.root.children[2].is_expanded] == [True, False]
        assert "c-4 rejected" in host.words
        assert "c-2 KL 0.4000" in host.words
        assert "t-3 stop" in host.words
        pane.show(RunView())
        await pilot.pause()
        assert "No thoughts yet" in host.words
        assert not tree.root.children

    pane = ThoughtsPane()
    shown(pane, drive)


def test_thoughts_are_recomputed_only_when_the_graph_changed(family: Any) -> None:
    async def drive(host: Host, pilot: Pilot[None]) -> None:
        view = view_of(family.events)
        pane.show(view)
        before = pane.tree_of_thoughts.root.children[0].data
        view.observe(Extended(candidates=3))
        pane.show(view)
        assert pane.tree_of_thoughts.root.children[0].data is before
        view.observe(Thought(id="t-9", kind="lesson", text="new"))
        pane.show(view)
        assert pane.tree_of_thoughts.root.children[0].data is not before

    pane = ThoughtsPane()
    shown(pane, drive)


def test_progress_shows_budget_best_and_the_front(new_story: Any) -> None:
    async def drive(host: Host, pilot: Pilot[None]) -> None:
        pane.show(view_of(story.whole().events))
        pane.compare_with([("old-run", 0.6, 80.0), ("bad-run", 0.4, 90.0), ("broken", 0.5, float("inf"))])
        await pilot.pause()
        lines = [" ".join(line.split()) for line in host.text.splitlines()]
        assert lines[0] == "finished"
        assert "candidates 2 of 4 █████ ▏" in lines
        assert any(line.startswith("minutes") and line.endswith("no limit") for line in lines)
        assert any(line.startswith("money $0.00 of $2.00") for line in lines)
        assert "best KL 1.00 → 0.800 over 3 measurements" in lines
        assert "perplexity o other runs x references @ this run" in lines
        assert "best by size dense 22.8 at 0.0 % c-2 41.9 at 50.0 % old-run 80.0 at 60.0 %" in lines
        plot = "\n".join(line for line in host.text.splitlines() if "│" in line)
        assert [plot.count(mark) for mark in "ox@"] == [2, 2, 1]

    story = new_story(goal=Goal(model="tiny", sparsity=0.5, budget=Budget(candidates=4, money=2.0)))
    pane = ProgressPane()
    shown(pane, drive)


def test_progress_tells_the_stage_and_leaves_out_plots_where_there_is_no_room(new_story: Any) -> None:
    async def drive(host: Host, pilot: Pilot[None]) -> None:
        events = story.start().survey().events
        pane.show(view_of([*events, Stage(at=story.at(), name="search")]))
        await pilot.pause()
        assert "search invents recipes and measures them" in host.words
        assert "Quality against size is plotted when" in host.words
        pane.show(view_of(story.whole().events))
        await pilot.pause()
        assert not pane.query_one(ParetoPlot).display
        assert "best by size dense 22.8 at 0.0 %" in host.words
        assert all(mark in host.words for mark in ("candidates", "minutes", "tokens", "money"))
        await pilot.resize_terminal(40, 40)
        await pilot.pause()
        assert pane.query_one(ParetoPlot).display
        await pilot.resize_terminal(30, 12)
        await pilot.pause()
        assert not pane.query_one(ParetoPlot).display

    story = new_story()
    pane = ProgressPane()
    shown(pane, drive, size=(40, 20))


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "ansi-dark"])
def test_the_plot_is_drawn_in_every_theme(story: Any, theme: str) -> None:
    async def drive(host: Host, pilot: Pilot[None]) -> None:
        host.theme = theme
        pane.show(view_of(story.whole().events))
        await pilot.pause()
        assert "@" in host.text

    pane = ProgressPane()
    shown(pane, drive)


def test_the_front_is_what_no_other_beats() -> None:
    points = [Point("dense", 0, 20), Point("a", 0.5, 40), Point("b", 0.5, 50), Point("c", 0.4, 45), Point("d", 0.6, 80)]
    assert [point.label for point in front(points)] == ["dense", "a", "d"]
    assert front([]) == []


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


async def settle(host: Host, pilot: Pilot[None]) -> None:
    await pilot.pause()
    await host.workers.wait_for_complete()
    await pilot.pause(0.1)  # the columns of a table take their width when nothing else is to be done


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
        await pilot.press("s")
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
