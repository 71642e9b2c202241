"""Pictures of an app are the same twice over, and a difference is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.pilot import Pilot
from textual.widgets import Input, Label

from tests.tui import pictures
from tests.tui.pictures import UPDATE, picture, same_picture


class Greeting(App[None]):
    """A prompt, a line of text, and a colour that a key changes."""

    BINDINGS: ClassVar[list[BindingType]] = [("f2", "colour", "Colour")]

    def compose(self) -> ComposeResult:
        yield Label("what is said", id="said")
        yield Input(placeholder="a name")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.query_one("#said", Label).update(f"hello <{event.value}>")

    def action_colour(self) -> None:
        self.query_one("#said", Label).styles.color = "red"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "FOLDER", tmp_path)
    monkeypatch.delenv(UPDATE, raising=False)


async def greet(pilot: Pilot[Any]) -> None:
    await pilot.press("A", "d", "a", "enter")


def test_the_same_app_gives_the_same_picture() -> None:
    svg = picture(Greeting, (40, 8), greet)
    assert svg == picture(Greeting, (40, 8), greet)
    assert "hello" in svg
    assert "http://www.w3.org/2000/svg" in svg
    assert "@font-face" not in svg


def test_a_picture_is_accepted_kept_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    svg = picture(Greeting, (40, 8))
    with pytest.raises(pytest.fail.Exception, match="picture greeting was never accepted"):
        same_picture(svg, "greeting")
    monkeypatch.setenv(UPDATE, "1")
    same_picture(svg, "greeting")
    monkeypatch.delenv(UPDATE)
    same_picture(svg, "greeting")
    assert [file.name for file in tmp_path.iterdir()] == ["greeting.svg"]

    with pytest.raises(pytest.fail.Exception, match=r"-what is said\n\+hello <Ada>") as told:
        same_picture(picture(Greeting, (40, 8), greet), "greeting")
    assert f"{tmp_path.as_uri()}/greeting.new.svg" in str(told.value)
    assert (tmp_path / "greeting.svg").read_text() == svg
    assert "hello" in (tmp_path / "greeting.new.svg").read_text()


def test_a_difference_in_colour_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    async def colour(pilot: Pilot[Any]) -> None:
        await pilot.press("f2")

    monkeypatch.setenv(UPDATE, "1")
    same_picture(picture(Greeting, (40, 8)), "greeting")
    monkeypatch.delenv(UPDATE)
    with pytest.raises(pytest.fail.Exception, match="colours or styles differ"):
        same_picture(picture(Greeting, (40, 8), colour), "greeting")
