"""Options are declared once: the line has a flag for each, and a command gets what they come to."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import pytest
import typer

from agent.session.options import Choices, Wish, flag_of
from tui.cli.options import takes
from tui.cli.prune import prune


def test_prune_has_every_flag_there_is() -> None:
    kinds = (Wish, Choices)
    hints = {name: hint for kind in kinds for name, hint in get_type_hints(kind, include_extras=True).items()}
    flags = {name for name, hint in hints.items() if flag_of(hint)} - {"test_windows", "test_length"}
    own = {"model", "json", "home"}
    assert set(inspect.signature(prune).parameters) == flags | own
    assert {field.name for field in fields(Wish)} - flags == {"max_perplexity", "max_rise"}


def test_a_command_gets_its_own_options_a_wish_and_settings(tmp_path: Path) -> None:
    heard: dict[str, Any] = {}

    @takes("loud", "text", "multiple", "windows", "home", windows="Of glass.")
    def shout(wish: Wish, settings: Any, loud: Annotated[bool, typer.Option("--loud")] = False) -> None:
        heard.update(wish=wish, windows=settings.given("windows"), length=settings.given("length"), loud=loud)

    shout(loud=True, text="c4", multiple=None, windows=3, home=tmp_path)
    assert heard == {"wish": Wish(text="c4"), "windows": 3, "length": None, "loud": True}
    assert list(inspect.signature(shout).parameters) == ["loud", "text", "multiple", "windows", "home"]


def test_an_option_that_the_line_does_not_have_cannot_be_given_to_a_command() -> None:
    with pytest.raises(LookupError, match="max_rise"):
        takes("max_rise")(lambda settings: None)
