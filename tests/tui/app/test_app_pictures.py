"""What the app looks like at three sizes: pictures that a person looked at and accepted."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from agent.session.settings import load
from runs.events import Answered, Asked, Spoke, Thought, ToolUsed
from runs.run import Run, create
from tests.tui.pictures import picture, same_picture
from tui.app.app import SecateurApp

SIZES = {"80x24": (80, 24), "120x36": (120, 36), "200x60": (200, 60)}


@pytest.fixture
def run(story: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with everything a conversation can hold, under a name that does not change."""
    monkeypatch.setattr("runs.names.propose", lambda rng: "calm-heron-7")
    monkeypatch.setattr(socket, "gethostname", lambda: "alpha")
    created = create(tmp_path, story.goal)
    story.start().survey().reference("magnitude", 2.0).reference("wanda", 1.0)
    story.propose("c-1", "W * X").measure("c-1", 1.0).select("c-1")
    talk = [
        Asked(call="1/design/1", model="openai:made-up", messages=()),
        Spoke(call="1/design/1", text="Block 0"),
        ToolUsed(name="layer_statistics", arguments='{"name": "skew"}', result="0: 2.2", seconds=0.2, generation=1),
        Answered(
            call="1/design/1",
            text="Block 0 is **far more skewed** than the rest, so:\n\n- spare it\n- keep `W * X` elsewhere\n",
            tokens_in=900,
            tokens_out=80,
            money=0.04,
        ),
        Thought(id="t-1", kind="lesson", text="Sparing [block] 0 saved 0.2 nats per token.", about=("c-1",)),
    ]
    for event in talk:
        story.events.append(event.model_copy(update={"at": story.at()}))
    story.propose("c-2", "sqr(W) * X", parents=("c-1",), generation=1).measure("c-2", 0.8)
    story.propose("c-3", "W * X", generation=1).reject("c-3", "duplicate of c-1")
    story.final("dense", 22.8, None, 0.0).final("wanda", 50.9, "W * X").final("c-2", 41.9, "sqr(W) * X").finish("c-2")
    for event in story.events:
        created.journal.append(event)
    return created


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pane", ["candidates", "thoughts", "progress"])
def test_a_finished_run(size: str, pane: str, run: Run) -> None:
    async def steps(pilot: Pilot[Any]) -> None:
        app: Any = pilot.app
        while not (app._side.furnished and app.view.state == "finished"):
            await asyncio.sleep(0.05)
        if size != "80x24" or pane != "candidates":
            app.action_slash(pane)
        await asyncio.sleep(0.6)
        await pilot.press("end")

    settings = load(run.home)
    same_picture(picture(lambda: SecateurApp(settings, watch=run), SIZES[size], steps), f"{pane}-{size}")
