"""What cannot be started is refused before anybody says yes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.session.talk import grammar
from agent.session.talk.session import Session
from agent.session.talk.tools.run import Foresee, Pause, Prune
from runs.run import Run
from tools.io.errors import SecateurError, UsageError


def test_what_does_not_exist_or_cannot_fall_is_refused_in_the_plan(
    session: Session, save_random: Callable[..., Path]
) -> None:
    with pytest.raises(SecateurError, match="does not exist"):
        Prune(model="./nowhere/at/all", sparsity=0.5).plan(session)
    with pytest.raises(SecateurError, match="the hub cannot be reached"):
        Prune(model="nobody-here/no-model", sparsity=0.5).plan(session)
    with pytest.raises(UsageError, match="3:2"):
        Prune(model="tiny", pattern="3:2").plan(session)
    with pytest.raises(SecateurError, match="experts"):
        Prune(model=str(save_random("dense", num_hidden_layers=2)), sparsity=0.5, pattern="experts").plan(session)
    assert not (session.settings.home / "runs").exists()


def test_a_pause_goes_to_the_engine(
    session: Session, told: Callable[..., Run], story: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr("agent.session.engines.os.kill", lambda pid, number: sent.append((pid, number)))
    assert Pause().work(session) == "Nothing is running."
    run = told(story.start())
    with run.lock():
        assert run.engine is not None
        assert f'"resume {run.id}" goes on' in Pause().work(session)
        assert [pid for pid, _ in sent] == [run.engine.pid]
    session.beside = True
    with pytest.raises(UsageError, match=r"Ctrl\+C"):
        Pause().work(session)
    assert len(sent) == 1


def test_a_plan_tells_what_it_keeps_to_and_what_it_leaves_out(session: Session) -> None:
    order = Prune(model="tiny", sparsity=0.5, seed=3)
    left = ('"quantise it" (to how many bits?)',)
    kept = order.model_copy(update={"rules": ("no OBS", "spare the last block"), "left_out": left})
    told = kept.plan(session)
    assert "seed 3" in told
    assert "No OBS from here on." in told
    assert "Block 4 stays whole from here on." in told
    assert told.endswith('Left out: "quantise it" (to how many bits?).')
    for rule in ("spare block 9", "without wanda", "only depth"):
        with pytest.raises(UsageError, match="cannot be kept, so that is not planned"):
            order.model_copy(update={"rules": (rule,)}).plan(session)
    with pytest.raises(UsageError, match="nothing is searched that could be steered"):
        order.model_copy(update={"method": "wanda", "rules": ("no OBS",)}).plan(session)


def test_the_engine_finds_the_rules_in_its_inbox(session: Session) -> None:
    session.carry = lambda run: "begun"
    assert Prune(model="tiny", sparsity=0.5, rules=("no OBS", "spare block 0")).work(session) == "begun"
    run = session.present()
    assert [said.text for said in run.unheard(run.history())] == ["no OBS", "spare block 0"]


def test_what_is_foreseen_starts_nothing(session: Session) -> None:
    tool = Foresee(model="tiny", sparsity=0.5)
    assert tool.plan(session) == ""
    assert tool.work(session).startswith("Plan: tiny")
    assert not (session.settings.home / "runs").exists()


def test_an_order_is_repeated_with_what_is_said_now(session: Session, told: Callable[..., Run], story: Any) -> None:
    run = told(story.start())
    again = grammar.read("start over with 60 %", session)
    assert again == [Prune(model=run.goal.model, sparsity=0.6, pattern="unstructured")]
    assert grammar.read("try again with 2:4", session) == [Prune(model=run.goal.model, pattern="2:4")]


def test_the_designer_that_was_named_here_designs(session: Session) -> None:
    session.designer = "random"
    assert "designer random" in Prune(model="tiny", sparsity=0.5).plan(session)
    assert "designer evolution" in Prune(model="tiny", sparsity=0.5, designer="evolution").plan(session)
