"""What cannot be started is refused before anybody says yes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.session.talk.session import Session
from agent.session.talk.tools.run import Pause, Prune
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


def test_a_second_run_is_refused_with_what_to_say(session: Session, told: Callable[..., Run], story: Any) -> None:
    run = told(story.start())
    with run.lock(), pytest.raises(UsageError) as refused:
        Prune(model="tiny", sparsity=0.4).plan(session)
    assert "Not started: tiny → 40 % unstructured" in str(refused.value)
    assert "nothing is queued" in str(refused.value)


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


def test_the_designer_that_was_named_here_designs(session: Session) -> None:
    session.designer = "random"
    assert "designer random" in Prune(model="tiny", sparsity=0.5).plan(session)
    assert "designer evolution" in Prune(model="tiny", sparsity=0.5, designer="evolution").plan(session)
