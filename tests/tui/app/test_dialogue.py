"""The conversation in the app: it is there again, its answers stream, and orders to stop wait for nothing."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from textual.pilot import Pilot
from textual.widgets import Static

from agent.session.talk.session import Session
from agent.session.talk.tools.look import PastRuns
from runs.run import create, list_runs
from tests.tui.app.test_app import LONG, journalled, play, said, send, until
from tui.app.app import SecateurApp
from tui.app.screens import Choice, Reading
from tui.app.widgets.prompt import Prompt


def sign(app: SecateurApp) -> str:
    line = app.query_one("#busy", Static)
    return str(line.content) if line.display else ""


class Slow:
    """A speaker that says one piece and goes on when it is let, or was told to stop."""

    def __init__(self) -> None:
        self.go_on, self.asked, self.was_stopped = threading.Event(), list[str](), False

    def answer(self, messages: Sequence[BaseMessage], session: Session) -> AIMessage:
        self.asked.append(messages[-1].text)
        session.hear("The first layers ")
        session.hear("matter most.")
        end = time.monotonic() + LONG
        while not self.go_on.wait(0.02) and time.monotonic() < end:
            if session.stopped.is_set():
                self.was_stopped = True
                return AIMessage("(stopped)")
        return AIMessage(f"The whole answer to {self.asked[-1]}.")


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    speaker = Slow()
    monkeypatch.setattr("agent.session.talk.speaker.speaker", lambda settings, session: speaker)
    return speaker


def test_an_answer_streams_and_others_wait_in_their_order(slow: Slow, tmp_path: Path) -> None:
    async def steps(app: SecateurApp, pilot: Pilot[None]) -> None:
        await send(app, pilot, "first")
        await until(lambda: "The first layers matter most." in said(app), LONG)
        await send(app, pilot, "second")
        await send(app, pilot, "third")
        await until(lambda: "answering" in sign(app) and "waits: second\n  waits: third" in sign(app))
        assert "second" not in said(app)
        slow.go_on.set()
        await until(lambda: "The whole answer to third." in said(app))
        assert slow.asked == ["first", "second", "third"]
        assert "matter most" not in said(app)
        assert said(app).index("The whole answer to first") < said(app).index("second")
        await until(lambda: not sign(app))

    play(tmp_path, steps)


class Looking(Slow):
    """A speaker that says something, looks, and then answers; the tool waits until it is let."""

    def answer(self, messages: Sequence[BaseMessage], session: Session) -> AIMessage:
        if isinstance(messages[-1], HumanMessage):
            session.hear("I look at c-12.")
            call = {"name": "past_runs", "args": {"words": "llama"}, "id": "1"}
            return AIMessage("I look at c-12.", tool_calls=[call])
        session.hear("None")
        self.go_on.wait(LONG)
        return AIMessage("None of **them** is known.")


def test_a_tool_is_a_line_between_what_is_said_and_its_result_opens(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looking, may_end = Looking(), threading.Event()
    monkeypatch.setattr("agent.session.talk.speaker.speaker", lambda settings, session: looking)
    monkeypatch.setattr(PastRuns, "work", lambda self, session: "Found." if may_end.wait(60) else "")

    async def steps(app: SecateurApp, pilot: Pilot[None]) -> None:
        await send(app, pilot, "what is known of llama?")
        await until(lambda: "· past runs (llama) …" in said(app), LONG)
        await until(lambda: "working" in sign(app))
        assert "m-1" not in said(app)
        may_end.set()
        await until(lambda: re.search(r"· past runs \(llama\) … \d\.\d s   m-1", said(app)))
        looking.go_on.set()
        await until(lambda: "None of them is known." in said(app))
        look, use, answer = (said(app).index(part) for part in ("I look at c-12.", "· past runs", "None of them"))
        assert look < use < answer
        assert said(app).count("I look") == 1
        await pilot.press("shift+tab", "up", "up", "enter")
        await until(lambda: isinstance(app.screen, Reading))

    play(tmp_path, steps)


@pytest.mark.parametrize("word", ["stop", "/stop"])
def test_stop_waits_for_no_model(word: str, slow: Slow, tmp_path: Path) -> None:
    async def steps(app: SecateurApp, pilot: Pilot[None]) -> None:
        await send(app, pilot, "first")
        await until(lambda: slow.asked, LONG)
        await send(app, pilot, word)
        await until(lambda: slow.was_stopped)
        await until(lambda: not app.dialogue.busy)
        await until(lambda: "stopped the answer" in said(app))
        assert slow.asked == ["first"]

    play(tmp_path, steps)


def test_a_yes_belongs_to_a_plan_that_was_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    may_end = threading.Event()
    monkeypatch.setattr(PastRuns, "work", lambda self, session: "Found." if may_end.wait(LONG) else "")

    async def steps(app: SecateurApp, pilot: Pilot[None]) -> None:
        await send(app, pilot, "which runs are there?")
        await until(lambda: "· past runs" in said(app), LONG)
        await send(app, pilot, "prune tiny to 50%")
        await send(app, pilot, "yes")
        may_end.set()
        await until(lambda: "was typed before that plan" in said(app), LONG)
        assert app.dialogue.asks
        assert not list_runs(tmp_path)

    play(tmp_path, steps)


def test_the_conversation_and_its_open_plan_are_there_again(tmp_path: Path) -> None:
    async def first(app: SecateurApp, pilot: Pilot[None]) -> None:
        await send(app, pilot, "prune tiny to 50%")
        await until(lambda: "Plan:" in said(app), LONG)

    async def second(app: SecateurApp, pilot: Pilot[None]) -> None:
        await until(lambda: "This still waits" in said(app), LONG)
        assert said(app).count("Plan:") == 1
        assert "prune tiny to 50%" in said(app)
        assert "Enter starts" in app.query_one(Prompt).line.placeholder
        await send(app, pilot, "no")
        await until(lambda: "Nothing was started." in said(app), LONG)
        assert "Enter starts" not in app.query_one(Prompt).line.placeholder

    play(tmp_path, first)
    play(tmp_path, second)


def test_one_conversation_goes_on_across_runs(story: Any, new_story: Any, tmp_path: Path) -> None:
    old = journalled(tmp_path, story.whole())
    new = create(tmp_path, new_story().goal)

    async def steps(app: SecateurApp, pilot: Pilot[None]) -> None:
        await send(app, pilot, "how does it stand?")
        await until(lambda: app.dialogue.exists and not app.dialogue.busy, LONG)
        await send(app, pilot, f"/open {old.id}")
        await until(lambda: "best ★ c-2" in said(app))
        await send(app, pilot, f"/open {new.id}")
        await until(lambda: f"run {old.id}" in said(app))
        assert "how does it stand?" in said(app)
        assert "best ★ c-2" not in said(app)

    play(tmp_path, steps)


def test_a_run_that_was_opened_before_the_first_word_is_what_is_talked_about(story: Any, tmp_path: Path) -> None:
    run = journalled(tmp_path, story.whole())

    async def steps(app: SecateurApp, pilot: Pilot[None]) -> None:
        await send(app, pilot, f"/open {run.id}")
        await until(lambda: app.attached is not None, LONG)
        await send(app, pilot, "how does it stand?")
        await until(lambda: app.dialogue.exists and not app.dialogue.busy, LONG)
        assert app.dialogue.talk.run is not None
        assert app.dialogue.talk.run.id == run.id

    play(tmp_path, steps)


def test_a_run_that_was_left_stays_left(story: Any, tmp_path: Path) -> None:
    run = journalled(tmp_path, story.whole())

    async def first(app: SecateurApp, pilot: Pilot[None]) -> None:
        await send(app, pilot, "which runs are there?")
        await until(lambda: "Runs, newest first" in said(app), LONG)
        await send(app, pilot, f"/open {run.id}")
        await until(lambda: "best ★ c-2" in said(app))
        await send(app, pilot, "/new")
        await until(lambda: app.attached is None)

    async def second(app: SecateurApp, pilot: Pilot[None]) -> None:
        await until(lambda: "Runs, newest first" in said(app), LONG)
        await until(lambda: not app.dialogue.busy)
        await pilot.pause()
        assert app.attached is None

    play(tmp_path, first)
    play(tmp_path, second)


def test_a_watched_run_gets_nothing_into_its_inbox(story: Any, tmp_path: Path) -> None:
    run = journalled(tmp_path, story.start())

    async def steps(app: SecateurApp, pilot: Pilot[None]) -> None:
        with run.lock():
            await send(app, pilot, "/stop")
            await until(lambda: "is only watched" in said(app))
            await send(app, pilot, "/pause")
            await until(lambda: said(app).count("is only watched") == 2)
            await send(app, pilot, "/export out")
            await until(lambda: said(app).count("is only watched") == 3)
        assert not run.inbox.path.exists()

    play(tmp_path, steps, watch=run)


def test_the_end_of_a_run_is_a_beginning(slow: Slow, story: Any, tmp_path: Path) -> None:
    run = journalled(tmp_path, story.whole())
    slow.go_on.set()

    async def steps(app: SecateurApp, pilot: Pilot[None]) -> None:
        await send(app, pilot, f"/open {run.id}")
        await until(lambda: "zeros alone make nothing faster" in said(app))
        await send(app, pilot, "/next")
        await until(lambda: isinstance(app.screen, Choice))
        await pilot.press("down", "down", "enter")
        await until(lambda: "The whole answer to evaluate it on hellaswag" in " ".join(said(app).split()), LONG)
        await send(app, pilot, "4")
        await until(lambda: "The whole answer to how fast is it?." in said(app))

    play(tmp_path, steps)
