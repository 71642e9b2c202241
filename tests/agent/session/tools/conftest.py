"""A conversation over made-up runs and over a real one, whose commands work in this process."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.session.settings import load
from agent.session.talk.session import Session
from runs.events import RunStarted
from runs.goal import Goal
from runs.run import Run, create
from tools.model.sample import TINY

SMALL = {"windows": 2, "length": 64, "search_windows": 2, "search_length": 64, "test_windows": 2, "test_length": 64}


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """Without a run."""
    return Session(load(tmp_path / "home", SMALL), lambda run: "done")


@pytest.fixture
def told(session: Session, story: Any) -> Callable[[Any], Run]:
    """Makes a run of a story the one that is talked about; it was worked on by this machine."""

    def make(of: Any, goal: Goal | None = None) -> Run:
        run = create(session.settings.home, goal or of.goal)
        for event in of.events:
            here = {"host": socket.gethostname(), "run": run.id}
            run.journal.append(event.model_copy(update=here) if isinstance(event, RunStarted) else event)
        session.run = run
        return run

    return make


@pytest.fixture
def pruned(told: Callable[..., Run], story: Any, tmp_path: Path) -> Run:
    """A finished run, whose model is the sample's, with a recipe beside it."""
    import shutil

    run = told(story.whole())
    shutil.copytree(TINY, run.model_folder)
    story.recipe("W * X").save(run.model_folder / "recipe.yaml")
    return run
