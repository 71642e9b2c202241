"""What keys do: letters reach the prompt from everywhere, Escape means what the footer shows."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from textual.events import Key
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import DataTable

from agent.session.engines import Engine
from runs.events import RunStarted, Said
from runs.goal import Goal
from runs.run import create
from tests.tui.app.test_app import journalled, play, said, send, until
from tui.app.app import SecateurApp
from tui.app.attached import Attached
from tui.app.screens import Choice, Reading
from tui.app.view import Words
from tui.app.widgets.conversation import Conversation
from tui.app.widgets.prompt import Prompt


def footer(app: SecateurApp) -> dict[str, str]:
    return {active.binding.key: active.binding.description for active in app.screen.active_bindings.values()}


@pytest.mark.parametrize("size", [(80, 24), (120, 36)], ids=str)
def test_letters_reach_the_prompt_from_every_pane_and_escape_closes_it(
    size: tuple[int, int], story: Any, tmp_path: Path
) -> None:
    run = journalled(tmp_path, story.whole())

    async def steps(app: SecateurApp, pilot: Pilot[None]) -> None:
        await until(lambda: "best ★ c-2" in said(app))
        for number in range(1, 6):
            await pilot.press(f"f{number + 1}")
            await until(lambda: app.focused is not app.query_one(Prompt).line)
            assert footer(app)["escape"] == "Close"
            await pilot.press(*"resume c s")
            assert app.query_one(Prompt).line.value == "resume c s"
            app.query_one(Prompt).line.value = ""
            if size[0] > 100:  # it stands beside the prompt, which has the focus
                await pilot.press(f"f{number + 1}")
                await until(lambda: app.focused is not app.query_one(Prompt).line)
            await pilot.press("escape")
            await until(lambda: app.pane is None)
            assert app.focused is app.query_one(Prompt).line

    play(tmp_path, steps, size=size, watch=run)


def test_a_run_is_chosen_from_a_menu(story: Any, tmp_path: Path) -> None:
    run = journalled(tmp_path, story.whole())

    async def steps(app: SecateurApp, pilot: Pilot[None]) -> None:
        await pilot.press("f6")
        await until(lambda: app.pane is not None and app.pane.query_one(DataTable).row_count)
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, Choice))
        await pilot.press("enter")
        await until(lambda: app.attached is not None and app.attached.run.id == run.id)

    play(tmp_path, steps)


def test_enter_sends_what_was_typed_whatever_has_the_focus(story: Any, tmp_path: Path) -> None:
    journalled(tmp_path, story.whole())

    async def steps(app: SecateurApp, pilot: Pilot[None]) -> None:
        heard: list[str] = []
        app.say = heard.append  # type: ignore[method-assign]
        await pilot.press("f6")
        await until(lambda: app.pane is not None and app.pane.query_one(DataTable).row_count)
        await until(lambda: isinstance(app.focused, DataTable))
        app._driver.process_message(Key("h", "h"))  # type: ignore[union-attr]
        app._driver.process_message(Key("i", "i"))  # type: ignore[union-attr]
        app._driver.process_message(Key("enter", "\r"))  # type: ignore[union-attr]
        await until(lambda: heard == ["hi"])
        await pilot.press("f1")
        await until(lambda: isinstance(app.screen, Reading))
        await pilot.press(*"chat", "enter")
        await until(lambda: heard == ["hi", "chat"])
        assert len(app.screen_stack) == 1

    play(tmp_path, steps)


def test_enter_says_what_can_follow_and_a_run_that_is_over_is_not_paused(story: Any, tmp_path: Path) -> None:
    run = journalled(tmp_path, story.whole())

    async def steps(app: SecateurApp, pilot: Pilot[None]) -> None:
        await send(app, pilot, f"/open {run.id}")
        await until(lambda: "what next?" in said(app))
        with run.lock():  # as for the moment after its last event
            await pilot.press("backspace")
            assert "escape" not in footer(app)
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, Choice))
        await pilot.press("escape")
        await send(app, pilot, "/pause")
        await until(lambda: f"nobody works on run {run.id} now" in said(app))
        assert not [entry for entry in app.view.entries if isinstance(entry, Words) and entry.label == "error"]

    play(tmp_path, steps)


def test_the_conversation_scrolls_from_the_prompt_and_follows_what_is_sent(story: Any, tmp_path: Path) -> None:
    story.start()
    story.events += [Said(text=f"line {number}") for number in range(60)]
    run = journalled(tmp_path, story)

    async def steps(app: SecateurApp, pilot: Pilot[None]) -> None:
        conversation = app.query_one(Conversation)
        await until(lambda: "line 59" in said(app) and conversation.max_scroll_y > 0)
        await pilot.pause()
        await pilot.press("pageup")
        await pilot.pause()
        assert not conversation.at_end
        assert app.focused is app.query_one(Prompt).line
        await pilot.press("end")
        await pilot.pause()
        assert conversation.at_end
        await pilot.press("pageup")
        await send(app, pilot, "/show c-1")
        await until(lambda: "c-1 is not a candidate" in said(app))
        await pilot.pause()
        assert conversation.at_end

    play(tmp_path, steps, watch=run)


def test_a_killed_engine_says_so_and_one_that_was_paused_says_nothing(story: Any, tmp_path: Path) -> None:
    run = create(tmp_path, story.goal)

    def problem(command: str) -> str:
        with tempfile.TemporaryFile() as said_there:
            process = subprocess.Popen(["/bin/sh", "-c", command], stdout=said_there, stderr=said_there)
            process.wait()
            return Engine(run, process, said_there).problem

    assert "was killed (SIGKILL)" in problem("echo '  search  candidate 12/24'; kill -9 $$")
    assert problem("echo 'secateur: interrupted'; exit 130") == ""
    assert problem("kill -INT $$") == ""  # before it could catch that
    assert problem("echo 'secateur: no tokenizer'; echo '  search'; exit 1") == "no tokenizer"
    assert "ended with code 3" in problem("echo '  search  candidate 12/24'; exit 3")


def test_an_engine_of_another_process_that_is_gone_is_told_once(tmp_path: Path) -> None:
    run = create(tmp_path, Goal(model="tiny", sparsity=0.5))
    run.journal.append(RunStarted(run=run.id, goal=run.goal, versions={}, host="", pid=1))
    attached = Attached(run)
    attached.read()
    with run.lock():
        assert attached.look() == ""
    assert attached.look() == f"the engine of run {run.id} is gone; /resume goes on where it stopped"
    assert attached.look() == ""
    assert attached.view.state == "interrupted"
    later = Attached(run)  # whoever only opens it has seen nothing end
    later.read()
    assert later.look() == ""


def layouts(monkeypatch: pytest.MonkeyPatch) -> list[Screen[Any]]:
    """Filled with the screen at every layout from now on."""
    found: list[Screen[Any]] = []
    original = Screen._refresh_layout

    def counted(self: Screen[Any], *args: Any, **more: Any) -> None:
        found.append(self)
        original(self, *args, **more)

    monkeypatch.setattr(Screen, "_refresh_layout", counted)
    return found


def test_typing_lays_nothing_out_and_a_long_line_scrolls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layout of the whole screen for every character is what made typing slow beside a run."""

    async def steps(app: SecateurApp, pilot: Pilot[None]) -> None:
        line = app.query_one(Prompt).line
        line.focus()
        await pilot.pause(0.5)
        counted = layouts(monkeypatch)
        await pilot.press(*"abcdefghij")
        await pilot.pause()
        assert line.value == "abcdefghij"
        assert len(counted) < 5
        line.value = f"{'word ' * 60}end"
        await pilot.press("end")
        await pilot.pause()
        assert "end" in "".join(segment.text for segment in line.render_line(0))

    play(tmp_path, steps)
