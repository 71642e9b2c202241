"""Measuring in conversation: known numbers are not measured again, and what takes long is asked about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.session.talk.session import Session
from agent.session.talk.tools.measure import Generations, Perplexity, Speed
from runs.events import Continued, SpeedMeasured
from runs.run import Run
from tools.io.errors import SecateurError, UsageError
from tools.measure.continuation import Continuation
from tools.recipe import Request


def test_the_table_of_the_run_answers(session: Session, pruned: Run, commands: list[list[str]]) -> None:
    assert Perplexity().plan(session) == ""
    said = Perplexity().work(session)
    assert f"From the table of run {pruned.id}, on builtin/test, 4 windows of 512 tokens:" in said
    assert "  dense (dense): perplexity 22.8" in said
    assert "  c-2 (result): perplexity 41.9" in said
    assert commands == []


def test_two_models_are_read_on_the_same_text(session: Session, pruned: Run, commands: list[list[str]]) -> None:
    tool = Perplexity(models=("result", "dense"), windows=2, length=64)
    assert tool.plan(session) == ""
    said = tool.work(session)
    assert commands[0][:4] == ["evaluate", str(pruned.model_folder), "--against", "tiny"]
    assert f"the result of {pruned.id}: perplexity " in said
    assert "2 windows of 64 tokens of builtin/test, float32" in said
    assert "That is 1.00 times as much." in said


def test_what_is_no_text_or_no_model_is_refused_before_anything(session: Session, pruned: Run) -> None:
    with pytest.raises(UsageError, match="is no text here"):
        Perplexity(text="moby.txt").plan(session)
    with pytest.raises(SecateurError, match="does not exist"):
        Speed(models=("./gone/away",)).plan(session)
    with pytest.raises(UsageError, match="c-1 is a recipe"):
        Perplexity(models=("c-1",)).plan(session)


def test_a_long_reading_has_a_plan_with_minutes_of_earlier_runs(session: Session, pruned: Run) -> None:
    long = Perplexity(models=("dense",), windows=10_000, length=512)
    plan = long.plan(session)  # one second for 2,048 tokens, as the run measured
    assert plan.startswith("Plan: perplexity of tiny on 10000 windows of 512 tokens of builtin: about 42 minutes, ")
    assert f"judged by run {pruned.id}" in plan
    assert "2.2 MB for the weights." in plan


def test_what_was_never_measured_is_said_to_be_unknown(session: Session) -> None:
    session.model = "tiny"
    plan = Perplexity(windows=10_000, length=512).plan(session)
    assert "5,120,000 tokens for each model; how long that takes here was not measured before" in plan


def test_texts_are_written_side_by_side(session: Session, pruned: Run, commands: list[list[str]]) -> None:
    with pytest.raises(UsageError, match="After which words"):
        Generations().plan(session)
    tool = Generations(prompts=("Thank you",), new=4)
    assert tool.plan(session) == ""
    said = tool.work(session).splitlines()
    assert said[0] == "prompt 1: Thank you"
    assert said[1].startswith(f"  the result of {pruned.id}: ")
    assert said[2].startswith("  tiny: ")
    assert said[3] == "  They are the same."  # the model of this run was copied
    assert "--generate" in commands[0]


def test_what_the_run_kept_is_shown(session: Session, told: Callable[..., Run], story: Any) -> None:
    story.whole()
    for name, text in (("dense", " a lot"), ("c-2", " a bit")):
        one = Continuation(prompt="Thanks", text=text, tokens=2, seconds=1.0)
        story.events.insert(-1, Continued(name=name, continuations=(one,)))
    request = Request()
    story.events.insert(-1, SpeedMeasured(request=request, dense_seconds=2.0, seconds=1.0, hardware="a CPU", threads=2))
    run = told(story)
    assert Generations().plan(session) == Speed().plan(session) == ""
    assert "prompt 1: Thanks\n  dense: a lot\n" in Generations().work(session)
    assert f"Measured by run {run.id}: its result is 2.00 times as fast as the dense model" in Speed().work(session)


def test_speed_is_measured_where_nobody_did(session: Session, commands: list[list[str]], tmp_path: Path) -> None:
    tool = Speed(models=("tiny", "tiny"), prompt=16, new=2)
    assert tool.plan(session) == ""
    said = tool.work(session)
    assert "tiny: " in said
    assert "  batch 1: reads " in said
    assert "batch 1: the first is prefill " in said
    assert "Median of 3 rounds on " in said
    assert commands[0][5:11] == ["--batch", "1", "--prompt", "16", "--new", "2"]


def test_a_prompt_that_nobody_named_is_as_long_as_the_model_takes(session: Session) -> None:
    """The sample has 512 positions, and by default 512 tokens are read before 64 are written."""
    lengths = []
    for tool in (Speed(models=("tiny",)), Speed(models=("tiny",), prompt=500), Speed(models=("tiny",), new=10)):
        timing = tool._timing(session, ["tiny"])
        lengths.append((timing.prompt, timing.new))
    assert lengths == [(448, 64), (500, 64), (502, 10)], "what was said stays, and is refused where it does not fit"
