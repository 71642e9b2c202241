"""Formulas are checked at once, and tried on the layers of a model by a command."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.session.talk.session import Session
from agent.session.talk.tools.formulas import TryAllocation, TryMetric, trials
from agent.session.trials import unreached
from runs.run import Run
from tests.tools.mixtures import mixture
from tools.io.errors import UsageError
from tools.recipe.trial import allocation_recipe, metric_recipe


def test_a_metric_without_a_model_is_read_only(session: Session, commands: list[list[str]]) -> None:
    said = TryMetric(expression="X * W").work(session)
    assert "It reads W (|weight|); X (norm of the input channel" in said
    assert "the published metric wanda" in said
    assert "No model is talked about, so nothing was measured" in said
    assert commands == []


def test_a_metric_is_tried_on_one_layer(session: Session, commands: list[list[str]]) -> None:
    tool = TryMetric(expression="|W| * X^0.5", layer=1, model="tiny")
    assert tool.plan(session) == ""  # nobody is asked about seconds
    said = tool.work(session)
    assert commands[0][:6] == ["stats", "tiny", "--metric", "W * X**0.5", "--layer", "1"]
    assert "Block 1 of tiny (blocks 0 to 4), pruned alone to 50 %" in said
    assert re.search(r"\n  down 96 x 256: [\d.]+ %; wanda [\d.]+ %, magnitude [\d.]+ %\n", said)
    assert "Inputs of the dense model, 128 tokens of builtin/calibration" in said


def test_what_cannot_be_tried_is_refused_before_anything(session: Session, commands: list[list[str]]) -> None:
    with pytest.raises(UsageError, match=r"Q is not known. Terminals are W, X, G"):
        TryMetric(expression="W * Q", model="tiny").plan(session)
    with pytest.raises(UsageError, match="layer 9 is not there: layers are the blocks 0 to 4"):
        TryMetric(expression="W * X", layer=9, model="tiny").plan(session)
    with pytest.raises(UsageError, match="flap removes structures"):
        TryMetric(expression="flap", model="tiny").plan(session)
    with pytest.raises(UsageError, match="reap removes experts"):
        TryMetric(expression="reap", model="tiny").plan(session)
    with pytest.raises(UsageError, match="owl is an allocation"):
        TryMetric(expression="owl", model="tiny").plan(session)
    with pytest.raises(UsageError, match="wanda is a metric"):
        TryAllocation(expression="wanda", model="tiny").plan(session)
    assert commands == []


def test_an_allocation_gives_rates_and_what_they_cost(session: Session, commands: list[list[str]]) -> None:
    assert "no rate is known" in TryAllocation(expression="-depth").work(session)
    tool = TryAllocation(expression="-depth", width=0.15, sparsity=0.4, model="tiny")
    assert tool.plan(session) == ""
    said = tool.work(session)
    assert "0: 25.0 %, 1: 32.5 %, 2: 40.0 %, 3: 47.5 %, 4: 55.0 %." in said
    assert "Lowest 25.0 %, highest 55.0 %, mean 40.0 % by size." in said
    assert re.search(r"single layers: [\d.]+ %, and [\d.]+ % with one rate for all", said)


def test_what_the_run_measured_is_told(session: Session, told: Callable[..., Run], story: Any, commands: Any) -> None:
    told(story.whole())
    said = TryMetric(expression="sqr(W) * X", model="tiny", sparsity=0.3).work(session)
    assert "c-2 has KL 0.900 over 16,384 tokens" in said
    assert "pruned alone to 30 %" in said


def test_a_long_trial_names_its_cost_until_statistics_are_kept(
    session: Session, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.session.talk.tools.subjects.LIGHT", 1.0)
    tool = TryMetric(expression="wanda", model="tiny")
    plan = tool.plan(session)
    assert plan.startswith("Plan: try wanda on the middle block of tiny")
    assert "256 tokens" in plan  # twice those of the text: Gram matrices cost as much as the forward pass
    tool.work(session)
    assert tool.plan(session) == ""
    kept = TryAllocation(expression="owl", model="tiny").plan(session)
    assert "which are kept" in kept
    assert "gradient" not in kept
    assert TryMetric(expression="gblm", model="tiny").plan(session).startswith("Plan: ")


def test_measured_losses_are_in_the_price(session: Session) -> None:
    _, plain = allocation_recipe("owl", 0.5)
    _, measured = allocation_recipe("loss", 0.5)
    text = trials.calibration(session, "tiny")
    assert trials._losses(plain.allocation, session, "tiny", text) == 0
    assert trials._losses(measured.allocation, session, "tiny", text) == 5 * 2 * 64


def test_what_a_trial_does_not_reach_of_a_mixture_is_said() -> None:
    whole = mixture("mixtral").architecture
    assert unreached(whole) == "", "its experts are projections, and tried like any other"
    without = replace(whole, projections=tuple(p for p in whole.projections if p.expert is None))
    assert unreached(without).startswith("what can be pruned, and is tried, holds ")


def test_methods_keep_what_their_papers_say() -> None:
    assert metric_recipe("Pruner-Zero", 0.5)[1].metric == "sqr(W) * mms(G)"
    assert metric_recipe("sparsegpt", 0.5)[1].compensation.kind == "obs"
    assert metric_recipe("magnitude", 0.5)[1].pattern.comparison == "matrix"
    assert allocation_recipe("dlp", 0.5)[1].allocation.width == 0.15
    assert allocation_recipe("dlp", 0.5, 0.2)[1].allocation.width == 0.2


def test_the_text_of_the_run_is_read_for_its_model(session: Session, told: Callable[..., Run], story: Any) -> None:
    run = told(story.start())
    assert trials.calibration(session, run.goal.model) == run.goal.calibration
    assert trials.calibration(session, str(Path("other"))).windows == 2
