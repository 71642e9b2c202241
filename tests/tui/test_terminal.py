"""The installed command on a terminal, from its first screen to a pruned model; and the terminal that shows it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from runs.fold.history import History
from runs.fold.summary import summary
from runs.run import Status, list_runs
from tests.tui.terminal import Terminal

SECATEUR = Path(sys.executable).with_name("secateur")
PROMPT = re.compile(r"^\W*›", re.MULTILINE)
SMALL = {
    "SECATEUR_CANDIDATES": "6",
    "SECATEUR_WINDOWS": "4",
    "SECATEUR_LENGTH": "64",
    "SECATEUR_SEARCH_WINDOWS": "2",
    "SECATEUR_SEARCH_LENGTH": "64",
    "SECATEUR_TEST_WINDOWS": "2",
    "SECATEUR_TEST_LENGTH": "64",
    "SECATEUR_FINALISTS": "1",
    "SECATEUR_THREADS": "1",
}
# What libraries say where nobody keeps them from it.
NOISE = ("Traceback", "Warning", "it/s]", "%|", "[Errno")

IN_A_SHELL = 'echo before; stty -g | cksum; "$@"; code=$?; stty -g | cksum; exit $code'


def test_from_an_empty_home_to_a_pruned_model(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = ["/bin/sh", "-c", IN_A_SHELL, "sh", str(SECATEUR), "--home", str(home)]
    with Terminal(command, size=(80, 24), environment=SMALL) as terminal:
        terminal.wait_for(PROMPT)
        assert terminal.alternate
        assert terminal.screen[0].split()[0] == "secateur"

        terminal.type("prune tiny to 50%")
        terminal.wait_for(re.compile(r"^\W*› *prune tiny to 50%", re.MULTILINE))
        terminal.press("enter")
        terminal.wait_for("Enter starts", 30)
        terminal.wait_for("tiny → 50 %")
        assert list_runs(home) == []

        terminal.press("enter")
        terminal.wait_for(re.compile(r"\bc-\d+\b"), 120)
        terminal.wait_for(re.compile("[●✔] finished"), 300)
        _looks_whole(terminal)
        assert terminal.rung > 0

        terminal.press("ctrl+c", "ctrl+c")
        assert terminal.wait() == 0
        _given_back(terminal)

    (run,) = list_runs(home)
    events = run.journal.read()
    assert run.status(History.of(events)) is Status.FINISHED
    found = summary(History.of(events))
    assert (found.spent.candidates, found.winner is not None) == (6, True)
    assert (run.model_folder / "model.safetensors").stat().st_size > 0


def _looks_whole(terminal: Terminal) -> None:
    """The frame stands where it stood, and nobody wrote across it."""
    assert terminal.screen[0].split()[0] == "secateur", terminal.text
    assert PROMPT.search(terminal.text), terminal.text
    assert not [noise for noise in NOISE if noise in terminal.text], terminal.text


def _given_back(terminal: Terminal) -> None:
    """The lines and the settings from before are there again; a program may say a word or two when it leaves."""
    assert not terminal.alternate
    assert not terminal.cursor_hidden
    shown = [line for line in terminal.screen if line]
    before, settings, *said, settings_after = shown
    assert (before, settings_after) == ("before", settings), terminal.text
    assert len(said) <= 2, terminal.text
    assert not [noise for noise in NOISE if noise in terminal.text], terminal.text


FULL_SCREEN = """
from textual.app import App
from textual.widgets import Input, Label

class Echo(App):
    def compose(self):
        yield Label("full screen")
        yield Input()

    def on_input_submitted(self, event):
        self.query_one(Label).update(event.value.upper())
        self.bell()

    def on_key(self, event):
        if event.key in ("escape", "up", "ctrl+b"):
            self.query_one(Label).update(f"pressed {event.key}")

Echo().run()
print("bye")
raise SystemExit(7)
"""


def test_a_full_screen_program_is_typed_to_and_gives_the_lines_back(tmp_path: Path) -> None:
    script = tmp_path / "echo.py"
    script.write_text(FULL_SCREEN)
    with Terminal(["/bin/sh", "-c", f"echo before; exec {sys.executable} {script}"], size=(50, 10)) as terminal:
        terminal.wait_for("full screen")
        assert terminal.alternate
        assert "before" not in terminal.text
        for key in ("up", "ctrl+b", "escape"):
            terminal.press(key)
            terminal.wait_for(f"pressed {key}")
        terminal.type("wörd €")
        terminal.wait_for("wörd €")
        terminal.press("enter")
        terminal.wait_for("WÖRD €")
        assert terminal.rung == 1
        terminal.press("ctrl+q")
        assert terminal.wait() == 7
        assert [line for line in terminal.screen if line] == ["before", "bye"]
        assert not terminal.alternate
        assert not terminal.cursor_hidden


def python(code: str) -> list[str]:
    return [sys.executable, "-c", f"import sys, time\ndef say(text): print(text, end='', flush=True)\n{code}"]


@pytest.mark.parametrize(
    "unknown",
    [
        "\x1b[>25u",
        "\x1b[<1u",
        "\x1b[=1;1u",
        "\x1b[?u",
        "\x1b[?2026$p",
        "\x1b[?2048h",
        "\x1b[4:3m",
        "\x1b[?4m",
        "\x1b[>4;2m",
        "\x1b[2 q",
        "\x1bP+q544e\x1b\\",
        "\x1b_Gi=1;AAAA\x1b\\",
        "\x1b]52;c;aGk=\x07",
        "\x1b]8;id=1;file:///x\x1b\\",
    ],
    ids=ascii,
)
def test_what_pyte_does_not_know_leaves_no_trace(unknown: str) -> None:
    """Whole, and cut in two where it hurts most."""
    halves = (unknown[:-1], unknown[-1])
    with Terminal(
        python(f"say('a' + {unknown!r} + 'b'); say({halves[0]!r}); time.sleep(.1); say({halves[1]!r} + 'c')")
    ) as t:
        assert t.wait() == 0
        assert [line for line in t.screen if line] == ["abc"]


def test_what_does_not_come_is_told_with_the_screen() -> None:
    with Terminal(python("say('there'); sys.stdin.readline()")) as terminal:
        terminal.wait_for("there")
        with pytest.raises(AssertionError, match=r'(?s)"gone" did not come within 0.2 s.*there'):
            terminal.wait_for("gone", 0.2)
        terminal.press("enter")
        with pytest.raises(AssertionError, match=r'(?s)"gone" never came: the command ended.*there'):
            terminal.wait_for("gone")


def test_time_is_when_the_bytes_came_and_work_is_that_of_the_command() -> None:
    busy = "end = time.process_time() + .3\nwhile time.process_time() < end: pass\nsay('done'); sys.stdin.readline()"
    with Terminal(python(f"time.sleep(.3)\nsay('slept')\nsys.stdin.readline()\n{busy}")) as terminal:
        slept = terminal.wait_until(lambda display: "slept" in display.row(0)) - terminal.started
        assert slept > 0.3
        idle = terminal.cpu_seconds
        assert idle < slept - 0.25, "sleeping is no work, however busy the machine is"
        sent = terminal.press("enter")
        assert terminal.wait_until(lambda display: "done" in "".join(display.rows())) - sent > 0.29
        assert terminal.cpu_seconds - idle > 0.25
