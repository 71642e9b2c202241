"""The app through Textual's pilot: made-up journals for what is shown, a real engine on `tiny` for what is done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from agent.session.settings import load
from runs.events import Said, Spoke
from runs.run import Run, Status, create, list_runs
from tui.app.app import SecateurApp
from tui.app.screens import Choice, Confirm, Reading
from tui.app.slash import SlashCommands
from tui.app.widgets.conversation import Conversation
from tui.app.widgets.entries import Line
from tui.app.widgets.entries import Said as Speaking
from tui.app.widgets.prompt import Prompt
from tui.app.widgets.status import StatusLine
from tui.app.widgets.welcome import Welcome

SMALL = {"windows": 4, "length": 64, "search_windows": 4, "search_length": 64, "test_windows": 4, "test_length": 64}
LONG = 120.0
"""Seconds that a real engine may take here."""

Steps = Callable[[SecateurApp, Pilot[None]], Awaitable[None]]


def play(
    home: Path, steps: Steps, *, size: tuple[int, int] = (120, 36), watch: Run | None = None, **given: Any
) -> None:
    """Run an app without a terminal and do the steps."""

    async def all_of_it() -> None:
        app = SecateurApp(load(home, {**SMALL, "threads": 1, "finalists": 1, **given}), watch=watch)
        async with app.run_test(size=size) as pilot:
            await until(lambda: bool(app.query("#panes")))
            await steps(app, pilot)

    asyncio.run(all_of_it())


async def until(holds: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait, in real time, since engines and readers are beside the app."""
    for _ in range(int(seconds / 0.05)):
        if holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come")


async def send(app: SecateurApp, pilot: Pilot[None], text: str) -> None:
    app.query_one(Prompt).line.value = text
    app.query_one(Prompt).line.focus()
    await pilot.press("enter")


def said(app: SecateurApp) -> str:
    """The conversation as text."""
    return "\n".join(str(line.content) for line in app.query(Line))


def status(app: SecateurApp) -> str:
    return str(app.query_one(StatusLine).content)


def journalled(home: Path, story: Any) -> Run:
    """A run with a made-up journal."""
    run = create(home, story.goal)
    for event in story.events:
        run.journal.append(event.model_copy(update={"run": run.id}) if event.event == "run_started" else event)
    return run


def test_the_first_screen_says_what_can_be_done(tmp_path: Path) -> None:
    async def steps(app: SecateurApp, pilot: Pilot[None]) -> None:
        welcome = str(app.query_one(Welcome).content)
        for part in ("prune smollm2-135m to 50%", "Enter sends it", "builtin search", "CPU cores", "empty", "none"):
            assert part in welcome
        assert "ready" in status(app)
        await pilot.press("slash", "c", "o")
        hints = str(app.query_one("#hints").content)  # type: ignore[attr-defined]
        assert "/compare RUN RUN..." in hints
        assert "/copy" in hints
        await pilot.press("m", "tab")
        assert app.query_one(Prompt).line.value == "/compare "

    play(tmp_path, steps)


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)], ids=str)
def test_a_run_is_shown_in_every_pane(size: tuple[int, int], story: Any, tmp_path: Path) -> None:
    run = journalled(tmp_path, story.whole())

    async def steps(app: SecateurApp, pilot: Pilot[None]) -> None:
        await until(lambda: "finished" in status(app))
        assert "best ★ c-2" in said(app)
        for number in range(1, 7):
            await pilot.press(f"f{number + 1}")
            await pilot.pause()
            assert app.pane is not None
            assert app.query_one("#panes").active == f"pane-{number}"  # type: ignore[attr-defined]
            assert app.pane.region.width >= 30
        await pilot.press("escape")
        if size[0] < 100:
            assert app.pane is None
            assert app.query_one(Conversation).region.width == size[0]

    play(tmp_path, steps, size=size, watch=run)


def test_a_candidate_opens_from_the_table_and_from_the_conversation(story: Any, tmp_path: Path) -> None:
    run = journalled(tmp_path, story.whole())

    async def steps(app: SecateurApp, pilot: Pilot[None]) -> None:
        await until(lambda: "finished" in status(app))
        await send(app, pilot, "/show c-2")
        assert isinstance(app.screen, Reading)
        await pilot.press("alt+c")
        assert app.clipboard == "sqr(W) * X"
        await pilot.press("escape")
        app.query_one(Conversation).focus()
        await pilot.press("up", "up", "up", "enter")
        await until(lambda: "sqr(W) * X" in said(app))
        (generation,) = (line for line in app.query(Line) if "generation 0" in str(line.content))
        row = next(y for y, text in enumerate(str(generation.content).splitlines()) if "★ c-2" in text)
        await pilot.click(generation, offset=(5, row))
        await until(lambda: isinstance(app.screen, Reading))
        await pilot.press("escape")
        app.tell("secateur", "c-2 is better than c-1")
        await until(lambda: "better than" in said(app))
        app.query_one(Conversation).focus()
        await pilot.press("end", "up", "enter")
        await until(lambda: isinstance(app.screen, Choice))
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, Reading))
        await pilot.press("escape")
        await send(app, pilot, "/copy c-1 recipe")
        assert "metric: W * X" in app.clipboard
        await send(app, pilot, "/copy c-9")
        await pilot.pause()
        assert "name a candidate of this run" in app.query(Line).last().entry.text  # type: ignore[union-attr]

    play(tmp_path, steps, watch=run)


def test_watching_touches_nothing_and_follows_live(story: Any, tmp_path: Path) -> None:
    story.start().propose("c-1", "W * X")
    run = journalled(tmp_path, story)

    async def steps(app: SecateurApp, pilot: Pilot[None]) -> None:
        with run.lock():  # somebody works on it
            await until(lambda: "1 design" in said(app))
            await send(app, pilot, "prune something else")
            story.measure("c-1", 0.5)
            run.journal.append(story.events[-1])
            run.journal.append(Spoke(call="1/design/1", text="**bold** thoughts"))
            await until(lambda: "KL 0.500" in said(app))
            await until(lambda: bool(app.query(Speaking)))
        await until(lambda: "interrupted" in status(app))
        assert "only watched" in said(app)
        assert not run.inbox.path.exists()
        assert len(list_runs(tmp_path)) == 1

    play(tmp_path, steps, watch=run)


def test_runs_are_compared_and_removed(story: Any, tmp_path: Path) -> None:
    first, second = journalled(tmp_path, story.whole()), journalled(tmp_path, story)

    async def steps(app: SecateurApp, pilot: Pilot[None]) -> None:
        await send(app, pilot, f"/compare {first.id} {second.id}")
        await until(lambda: isinstance(app.screen, Reading))
        await pilot.press("escape")
        (second.folder / "goal.json").write_text("{")
        await send(app, pilot, f"/compare {first.id} {second.id}")
        await until(lambda: "goal.json" in said(app))
        await send(app, pilot, "/compare nowhere nothing")
        await until(lambda: "run nowhere is not known" in said(app))
        await send(app, pilot, f"/remove {first.id}")
        assert isinstance(app.screen, Confirm)
        await pilot.press("n")
        assert len(list_runs(tmp_path)) == 2
        await send(app, pilot, f"/remove {first.id}")
        await pilot.press("y")
        await until(lambda: [run.id for run in list_runs(tmp_path)] == [second.id])
        await send(app, pilot, "/frobnicate")
        await until(lambda: "/frobnicate is not a command" in said(app))
        await send(app, pilot, "/show")
        await until(lambda: "it is used as /show CANDIDATE" in said(app))

    play(tmp_path, steps)


def test_a_long_journal_keeps_few_widgets_and_gives_the_earlier_ones_back(story: Any, tmp_path: Path) -> None:
    story.start()
    story.events += [Said(text=f"line {number}") for number in range(1000)]
    run = journalled(tmp_path, story)

    async def steps(app: SecateurApp, pilot: Pilot[None]) -> None:
        await until(lambda: "line 999" in said(app))
        assert len(app.query(Line)) <= 200
        assert "line 5\n" not in said(app)
        app.query_one(Conversation).focus()
        for _ in range(26):
            await pilot.press("home")
        assert "line 5\n" in said(app)
        await pilot.press("end")

    play(tmp_path, steps, watch=run)


def test_a_run_is_started_steered_paused_resumed_and_asked(tmp_path: Path) -> None:
    async def steps(app: SecateurApp, pilot: Pilot[None]) -> None:
        await send(app, pilot, "prune tiny to 50%")
        await until(lambda: "Plan:" in said(app), LONG)
        await until(lambda: "Enter starts" in app.query_one(Prompt).line.placeholder)
        await send(app, pilot, "")
        await until(lambda: app.attached is not None and app.view.history.candidates, LONG)
        (run,) = list_runs(tmp_path)
        await send(app, pilot, "spare the first block")
        await until(lambda: run.inbox.path.exists())
        await until(lambda: not app.dialogue.busy, LONG)  # while one is under way, Esc ends the answer
        await pilot.press("escape")
        await until(lambda: run.status() is Status.INTERRUPTED, LONG)
        await until(lambda: "interrupted" in status(app))
        await send(app, pilot, "/resume")
        await until(lambda: run.status() is Status.FINISHED, LONG)
        await until(lambda: "finished" in status(app))
        assert [event.text for event in run.journal.read() if isinstance(event, Said)] == ["spare the first block"]
        assert said(app).count("you         spare the first block") == 1
        await send(app, pilot, "explain c-1")
        await until(lambda: "c-1 is " in said(app), LONG)
        assert (run.folder / "model" / "model.safetensors").exists()
        assert app.attached is not None
        assert app.attached.rang

    play(tmp_path, steps, candidates=12)


def test_an_engine_that_cannot_begin_says_why(tmp_path: Path) -> None:
    model = tmp_path / "broken"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama"}')
    (model / "model.safetensors").write_bytes(b"no tensors")

    async def steps(app: SecateurApp, pilot: Pilot[None]) -> None:
        await send(app, pilot, f"prune {model} to 50%")
        await until(lambda: "Plan:" in said(app), LONG)
        await send(app, pilot, "yes")
        await until(lambda: "has no tokenizer" in said(app), LONG)
        await until(lambda: not list_runs(tmp_path / "home"))

    play(tmp_path / "home", steps)


def test_ctrl_c_twice_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.app.keys.TWICE", 600.0)

    async def steps(app: SecateurApp, pilot: Pilot[None]) -> None:
        await pilot.press("ctrl+c")
        assert app.is_running
        await pilot.press("ctrl+c")
        await until(lambda: not app.is_running or app._exit)

    play(tmp_path, steps)


def test_a_command_that_fails_is_not_wrong_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: SlashCommands) -> None:
        raise TypeError("deep inside")

    monkeypatch.setattr(SlashCommands, "command_report", broken)

    async def steps(app: SecateurApp, pilot: Pilot[None]) -> None:
        await send(app, pilot, "/report")
        await until(lambda: "unexpected TypeError: deep inside" in said(app))
        assert "it is used as" not in said(app)
        await send(app, pilot, "/report now")
        await until(lambda: "it is used as /report" in said(app))
        await send(app, pilot, "/export out with spaces")
        await until(lambda: "it is used as /export DIR" in said(app))
        await send(app, pilot, "/export out")
        await until(lambda: "There is no pruned model yet." in said(app))

    play(tmp_path, steps)
