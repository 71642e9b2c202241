"""The thought graph: a fold over the journal, whole at any moment, drawn without letting text act."""

from __future__ import annotations

from typing import Any

import pytest

from runs.events import Event, Likened, Thought
from runs.fold.history import History
from runs.fold.thoughts import thought_graph
from runs.report.graph import dot, listing, mermaid


def family(story: Any) -> list[Event]:
    """c-1 seed; c-2 of c-1 better; c-3 of c-1 worse; c-4 of c-2 rejected; thoughts behind c-2 and c-3."""
    story.start().survey()
    story.events.append(Thought(id="t-1", kind="hypothesis", text="the activation matters", generation=0))
    story.propose("c-1", "W").measure("c-1", 0.7)
    story.propose("c-2", "W * X", parents=("c-1",), thoughts=("t-1",)).measure("c-2", 0.5)
    story.propose("c-3", "W / (X + 1)", parents=("c-1",), thoughts=("t-1",)).measure("c-3", 0.9)
    story.propose("c-4", "X * W", parents=("c-2",)).reject("c-4", "chooses the same weights as c-2")
    story.events.append(Likened(candidate_id="c-2", correlations={"c-1": 0.95}))
    story.events.append(Likened(candidate_id="c-3", correlations={"c-1": 0.6, "c-2": 0.1}))
    story.events.append(
        Thought(id="t-2", kind="lesson", text="keep X", about=("c-2",), contradicts=("t-1",), generation=1)
    )
    events: list[Event] = story.events
    return events


def test_nodes_and_edges_are_what_the_journal_says(story: Any) -> None:
    graph = thought_graph(History.of(family(story)))
    kinds = {node.id: node.kind for node in graph.nodes.values()}
    assert kinds == {
        "t-1": "hypothesis",
        "t-2": "lesson",
        "c-1": "design",
        "c-2": "design",
        "c-3": "design",
        "c-4": "design",
        "o-1": "outcome",
        "o-2": "outcome",
        "o-3": "outcome",
        "o-4": "outcome",
    }
    (derived,) = graph.leaving("c-2", "derived-from")[:1]
    assert (derived.target, derived.weight) == ("c-1", pytest.approx(0.2))
    assert {(e.source, e.target, e.kind) for e in graph.edges if e.source.startswith("o-") and e.target == "t-1"} == {
        ("o-2", "t-1", "supports"),
        ("o-3", "t-1", "contradicts"),
    }
    assert [(e.target, e.weight) for e in graph.leaving("c-2", "similar-to")] == [("c-1", 0.95)]
    assert graph.leaving("c-3", "similar-to") == []
    assert [e.target for e in graph.leaving("t-2", "contradicts")] == ["t-1"]
    assert graph.nodes["o-2"].text == "KL 0.5000 over 2,048 tokens, 0.2000 less than c-1"
    assert graph.nodes["o-4"].text.startswith("rejected: chooses the same")


def test_changes_are_weighed_at_the_most_tokens_that_both_have(story: Any) -> None:
    family(story)
    story.measure("c-1", 0.8, tokens=16384).measure("c-2", 0.75, tokens=16384).measure("c-3", 0.1, tokens=999)
    graph = thought_graph(History.of(story.events))
    weights = {e.source: e.weight for e in graph.reaching("c-1", "derived-from") if e.source.startswith("c-")}
    assert weights == {"c-2": pytest.approx(0.05), "c-3": pytest.approx(-0.2)}


def test_every_moment_of_a_journal_gives_a_graph(story: Any) -> None:
    events = family(story)
    for length in range(len(events) + 1):
        graph = thought_graph(History.of(events[:length]))
        for edge in graph.edges:
            assert {edge.source, edge.target} <= graph.nodes.keys()
        assert listing(graph)
        assert dot(graph).endswith("}")


def test_drawings_hold_every_node_and_edge_once_and_text_cannot_act(story: Any) -> None:
    events = family(story)
    events.append(Thought(id="t-3", kind="lesson", text='"]; evil -> x; click t-1 "javascript:x"|', generation=1))
    graph = thought_graph(History.of(events))
    lines = dot(graph).splitlines()
    assert sum(" -> " in line and "[label=" in line.split(" -> ")[1] for line in lines if "evil" not in line) == len(
        graph.edges
    )
    assert 'label="t-3 \\"]; evil -> x;' in dot(graph)
    drawn = mermaid(graph).splitlines()
    assert len(drawn) == 1 + len(graph.nodes) + len(graph.edges)
    hostile = next(line for line in drawn if line.startswith("  t-3["))
    assert hostile.count('"') == 2
    assert ";" not in hostile.replace("#34;", "").replace("#59;", "").replace("#124;", "").replace("#62;", "")


def test_the_listing_reads_by_generation(story: Any) -> None:
    text = listing(thought_graph(History.of(family(story))))
    assert text.index("generation 0") < text.index("t-1") < text.index("c-3") < text.index("generation 1")
    assert "derived-from c-1 (KL -0.2000)" in text
    assert "outcome contradicts t-1 (KL +0.2000)" in text
    assert listing(thought_graph(History.of([]))) == "no thoughts yet"
