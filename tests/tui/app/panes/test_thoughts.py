"""The pane of thoughts: every edge in words, and a cursor that stays."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Tree

from runs.events import Extended, Likened, Thought
from runs.fold.history import History
from runs.fold.thoughts import thought_graph
from tests.tui.app.panes.host import Host, shown, view_of
from tui.app.panes.outline import outline
from tui.app.panes.thoughts import ThoughtsPane
from tui.app.view import RunView


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
