"""The plain printer: everything it shows comes from events."""

from __future__ import annotations

import io
from typing import Any

import pytest

from runs.events import Answered, CandidateMeasured, Event, Note, Progress, Stage
from runs.fold.history import History
from runs.fold.tally import eta
from runs.fold.words import short_time
from runs.goal import Budget, Goal
from tui.text.plain import Plain
from tui.text.thought import folded


@pytest.fixture
def events(new_story: Any) -> list[Event]:
    """A small search with its stages."""
    story = new_story(goal=Goal(model="tiny", sparsity=0.5, budget=Budget(candidates=4)))

    def stage(name: str, detail: str = "", total: int | None = None) -> None:
        story.events.append(Stage(at=story.at(), name=name, detail=detail, total=total))

    story.start()
    stage("model")
    story.survey()
    stage("statistics", "8,192 tokens", 4)
    story.events.append(Progress(at=story.at(), stage="statistics", done=4, total=4))
    stage("references")
    story.reference("magnitude", 2.0).reference("wanda", 1.0)
    stage("search")
    story.propose("c-1", "W * X").measure("c-1", 0.5)
    story.propose("c-2", "sqr(W) * X").measure("c-2", 0.9, tokens=16384)
    story.propose("c-3", "W").reject("c-3", "yields NaN", measured=True)
    story.events.append(Note(at=story.at(), text="[bold]as it is[/bold]"))
    stage("finalists", "c-2")
    story.events.append(
        CandidateMeasured(
            at=story.at(), candidate_id="c-2", recipe_id="r", measurement=story.measurement(40.0, "perplexity", 99999)
        )
    )
    stage("test")
    story.final("dense", 22.8, None, 0.0)
    return story.finish("c-2").events


def test_one_line_per_finished_thing(events: list[Event]) -> None:
    out = io.StringIO()
    with Plain(out, terminal=False) as printer:
        for event in events:
            printer(event)
    lines = [" ".join(line.split()) for line in out.getvalue().splitlines()]
    assert lines == [
        "tiny → 50 % unstructured run calm-heron-7",
        "model 0.0 M parameters, 4 blocks, float32 20.0 s",
        "statistics 8,192 tokens 20.0 s",
        "references magnitude KL 2.00 wanda KL 1.00 30.0 s",
        "c-1 KL 0.500 candidate 1/4 best c-1 KL 0.500 eta 1:00",
        "c-2 KL 0.900 candidate 2/4 best c-2 KL 0.900 eta 0:40",
        "c-3 failed: yields NaN",
        "note [bold]as it is[/bold]",
        "search candidate 3/4 best c-2 KL 0.900 80.0 s",
        "c-2 40.0 perplexity on the selection text",
        "finalists c-2 20.0 s",
        "test dense 22.8 30.0 s",
    ]


def test_a_terminal_shows_the_same_stages_in_place(events: list[Event]) -> None:
    out = io.StringIO()
    with Plain(out, terminal=True) as printer:
        for event in events:
            printer(event)
    shown = out.getvalue()
    for text in ("tiny → 50 % unstructured", "magnitude KL 2.00", "best c-2 KL 0.900", "[bold]as it is[/bold]"):
        assert text in shown
    assert "\x1b[" in shown


def test_a_resumed_run_knows_its_best_and_judges_the_pace_anew(events: list[Event], new_story: Any) -> None:
    killed = events[:12]
    history = History.of(killed)
    assert history.best == "c-1"
    later = new_story(goal=Goal(model="tiny", sparsity=0.5, budget=Budget(candidates=4)), events=[*events])
    for event in later.start().events[len(events) :]:
        history.observe(event)
    assert history.best == "c-1"
    assert eta(history) is None


def test_the_leader_is_judged_on_the_most_tokens(events: list[Event]) -> None:
    assert History.of(events).best == "c-2"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (100, "1:40"), (3729, "1:02:09")])
def test_short_time(seconds: float, text: str) -> None:
    assert short_time(seconds) == text


def test_what_a_model_thought_is_one_line(new_story: Any) -> None:
    story = new_story(goal=Goal(model="tiny", sparsity=0.5, budget=Budget(candidates=4)))
    story.start()
    thinking = "The first block is skewed.\nSo spare it. " * 40
    story.events.append(Answered(at=story.at(), call="1/design/1", thinking=thinking, text="Done."))
    out = io.StringIO()
    with Plain(out, terminal=False) as printer:
        for event in story.events:
            printer(event)
    (line,) = [line for line in out.getvalue().splitlines() if "skewed" in line]
    assert line.split()[:3] == ["thinking", "1/design/1", "The"]
    assert line.endswith("…")
    assert len(line) <= 100


def test_thoughts_are_dim_where_a_terminal_reads_them() -> None:
    assert folded("one\ntwo", 20) == "one two"
    assert folded("one two three", 8) == "one two…"
