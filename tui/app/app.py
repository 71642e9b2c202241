"""The full-screen app: talk on the left, panes on the right, a line at the top that says where things stand.

It never works on a model: engines are processes of their own (`agent.session.engines`), and what a person sees is
folded from their journals (`tui.app.view`). Closing it leaves what runs running.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from textual import on, work
from textual.app import ComposeResult, SystemCommand
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Footer, Input, Static, TabbedContent

from agent.session.engines import launch
from agent.session.settings import Settings
from runs.run import Run, list_runs
from tui.app.attached import Attached
from tui.app.commands import COMMANDS, NAMED
from tui.app.dialogue import Dialogue
from tui.app.keys import Keys
from tui.app.panes.pane import OpenCandidate, OpenIds, Pane, Wanted
from tui.app.screens import Choice, Reading, candidate_screen
from tui.app.themes import HIGH_CONTRAST
from tui.app.view import RunView, Words
from tui.app.widgets.conversation import Conversation
from tui.app.widgets.prompt import Prompt
from tui.app.widgets.status import StatusLine
from tui.app.widgets.welcome import EXAMPLE, Welcome
from tui.text.ending import meant

if TYPE_CHECKING:
    from agent.session.talk.conversation import Talk

TICK = 0.1
"""Seconds between looks into the journal."""
DRAW, PATIENCE = 5, 50
"""Looks from one drawing of the conversation to the next, and while the person types: laying it out costs more than
anything else, and what is typed comes first."""
TYPING = 0.5
"""Seconds after a key for which the person counts as typing."""
SWITCH = 0.001
"""Seconds for which a thread that imports or reads a journal may keep the screen from drawing what is typed."""
NARROW = 110
"""Columns from which the panes stand beside the conversation."""


class SecateurApp(Keys):
    """One conversation, one run at a time."""

    TITLE = "secateur"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (NARROW, "-wide")]  # noqa: RUF012 (Textual declares it so)

    def __init__(self, settings: Settings, *, watch: Run | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.attached: Attached | None = None
        self._watch = watch
        self.dialogue = Dialogue(self, settings, self._begin)
        self._lobby = RunView()
        """What is said before there is a run."""
        self._ticks = 0
        self._echoed = False
        self._drawn = 0
        self._typed = 0.0
        self._folded = (0, "")
        self._status = StatusLine()
        self._endpoints: list[str] | None = None

    @property
    def view(self) -> RunView:
        """What is shown now."""
        return self._lobby if self.attached is None else self.attached.view

    def compose(self) -> ComposeResult:
        """From top to bottom: status, talk beside the panes, the prompt, the keys."""
        yield self._status
        with Horizontal(id="body", classes="idle"):
            with Vertical(id="talk"):
                yield Welcome(markup=False)
                yield self._conversation
                yield Static(id="unread", markup=False)
            yield self._side
        yield self._prompt
        yield Footer(compact=True)

    async def on_mount(self) -> None:
        """Show the first screen at once; what is slow to load comes after it."""
        sys.setswitchinterval(SWITCH)
        self.register_theme(HIGH_CONTRAST)
        self.theme = "textual-dark"
        self._status.show(None, "● ready")
        self._prompt.line.focus()
        if self._watch is None:
            self._welcome()
        self.call_after_refresh(lambda: self.run_worker(self._furnish()))

    async def _furnish(self) -> None:
        """What nobody sees in the first instant: the run, then the panes."""
        if self._watch is not None:
            await self.attach(self._watch, watching=True).wait()
        else:
            await self._conversation.open(self._lobby)
            if self.dialogue.exists:
                self.dialogue.restore()
        self.set_interval(TICK, self._tick)
        self.call_after_refresh(self._mount_panes)

    async def _mount_panes(self) -> None:
        await self._side.furnish(self.settings)
        self._show_all()
        self.run_worker(self.dialogue.warm, thread=True, group="warm")
        if self.attached is None:
            self._look_for_endpoints()
        else:
            self._find_others(self.attached.run)

    def _welcome(self) -> None:
        welcome = self.query_one(Welcome)
        welcome.display = self.attached is None and not self._lobby.entries
        if welcome.display:
            welcome.show(self.settings, list_runs(self.settings.home), self._endpoints)

    @work(thread=True, group="endpoints")
    def _look_for_endpoints(self) -> None:
        from agent.session.endpoints import found

        self._endpoints = found()
        self.call_from_thread(self._welcome)

    # Talking

    @on(Prompt.Sent)
    def _heard(self, event: Prompt.Sent) -> None:
        text = event.text
        self.action_follow()
        if text.startswith("/"):
            self.slash.read(text)
            return
        if not text:
            if self.dialogue.asks:
                text = "yes"
            elif self.attached is None and not self._lobby.entries:
                text = EXAMPLE
            else:
                if self.view.next_steps and not self.dialogue.busy and not self.dialogue.models:
                    self.slash.do(NAMED["next"])
                return
        if self.attached is not None and self.attached.watching:
            self.tell("note", f"this run is only watched; /open {self.attached.run.id} lets you talk to it")
            return
        as_said = self.dialogue.asks or self.dialogue.models
        self.say(text if as_said else meant(text, self.view.next_steps))

    @on(Input.Changed)
    def _note_typing(self) -> None:
        self._typed = time.monotonic()

    @property
    def _typing(self) -> bool:
        return time.monotonic() - self._typed < TYPING

    def say(self, text: str) -> None:
        """Say something to the program; it answers when it has thought."""
        self.dialogue.say(text)

    def ask(self, text: str, question: Callable[[Talk], str]) -> None:
        """Show what the person asked, and what the conversation answers, whatever else it is about to answer."""
        self.dialogue.ask_beside(text, question)

    def offer(self, text: str, *, to_models: bool = False) -> None:
        """Say what Enter on an empty line would do, or that lines go to the models."""
        self._prompt.offer(text, to_models=to_models)

    def talked_of(self, run: Run | None) -> None:
        """Show the run that the conversation is about now."""
        if run is not None and (self.attached is None or self.attached.run.id != run.id):
            self.attach(run)

    def _begin(self, run: Run) -> str:
        """Let an engine work on a run; called by the talk, beside the screen."""
        engine = launch(run, self.settings.values.threads)
        self.call_from_thread(self.attach, run, engine=engine)
        return f"Run {run.id} begins."

    def recall(self, words: Sequence[tuple[str, str]]) -> None:
        """Show what was said before the program was started."""
        self.view.restore(words)
        self._echoed = True
        self._welcome()

    def tell(self, label: str, text: str) -> None:
        """Say something in the conversation that the journal does not hold, or not yet."""
        self.view.echo(Words(label, text, said=True))
        self._echoed = True
        self._welcome()

    async def show_heard(self) -> None:
        """Show what was just heard of an answer: its first words wait for no clock."""
        if self._conversation.is_attached:
            self.dialogue.hear()
            await self._conversation.catch_up()
            self._echoed = False

    def on_unmount(self) -> None:
        """No call of a model keeps the program from ending."""
        self.dialogue.close()

    # Looking at a run

    @work(group="attach")
    async def attach(self, run: Run, *, engine: Any = None, watching: bool = False) -> None:
        """Show a run from its beginning; what was said before stays above."""
        shown = self.attached
        if shown is not None and shown.run.id == run.id:  # it is shown already, and only goes on
            shown.watching, shown.engine, shown.rang = watching, engine or shown.engine, False
            self.dialogue.about(None if watching else run)
            return
        attached, before = Attached(run, watching, engine), self.view
        attached.view.follow_on(before)
        count = len(before.entries)
        worker = self.run_worker(attached.read, thread=True, group="read")
        await worker.wait()
        attached.view.echo_again(before.entries[count:])  # what was said while the journal was read
        attached.rang = attached.view.over
        self.attached = attached
        self.dialogue.about(None if watching else run)
        self.query_one(Welcome).display = False
        self.query_one("#body").remove_class("idle")
        await self._conversation.open(attached.view)
        self._show_all()
        if self._side.furnished:
            self._find_others(run)

    @work(thread=True, group="others")
    def _find_others(self, run: Run) -> None:
        """What other runs made of the same model, to be compared with."""
        from tui.app.panes.progress import ProgressPane
        from tui.text.comparison import results

        points = results(self.settings.home, run)
        for pane in self.query(ProgressPane):
            self.call_from_thread(pane.compare_with, points)

    async def _tick(self) -> None:
        if not self._conversation.is_attached:  # the app is being closed
            return
        self._ticks += 1
        before = self.view.state
        if self._ticks % (PATIENCE // 2 if self._typing else 2) == 0:
            self.dialogue.hear()
        self._prompt.busy(self.dialogue.sign)
        if self.attached is not None:
            self.attached.read()
        if self._echoed or self.view.state != before or self.view.reworded:
            await self._conversation.catch_up()
            self._echoed = False
        if self._ticks - self._drawn >= (PATIENCE if self._typing else DRAW):
            self._drawn = self._ticks
            await self._draw()
        self._ring()
        self.show_keys()

    async def _draw(self) -> None:
        """Everything that may have changed."""
        if self.attached is not None and (problem := self.attached.look()):
            self.view.echo(Words("error", problem))
        await self._conversation.catch_up()
        if (self.view.generation, self.view.state) != self._folded:  # the lines of generations say what goes on
            self._folded = self.view.generation, self.view.state
            self._conversation.redraw_generations()
        self._show_all()

    def _show_all(self) -> None:
        if self.attached is None:
            self._status.show(None, "● ready")
        else:
            self._status.show(self.view)
        self.draw_pane()

    def draw_pane(self) -> None:
        """Bring the pane that is visible up to date."""
        if (pane := self.pane) is not None:
            pane.show(self.view)

    def _ring(self) -> None:
        """The bell, once, where a run that was seen at work ends."""
        attached = self.attached
        if attached is not None and not attached.rang and attached.view.over:
            attached.rang = True
            self.bell()
            self.dialogue.go_on()

    @property
    def pane(self) -> Pane | None:
        """The pane that is visible."""
        return self._side.pane

    @on(TabbedContent.TabActivated)
    def _turned(self) -> None:
        self._show_all()

    @on(OpenCandidate)
    def _open_candidate(self, event: OpenCandidate) -> None:
        self.show_candidate(event.candidate)

    def show_candidate(self, name: str) -> None:
        """One candidate over everything; the pane of layers shows it too."""
        from tui.app.panes.layers import LayersPane

        if name not in self.view.history.candidates:
            self.tell("note", f"{name} is not a candidate of this run")
            return
        for pane in self.query(LayersPane):
            pane.choose(name)
        self.push_screen(candidate_screen(self.view, name))

    @on(OpenIds)
    def _open_ids(self, event: OpenIds) -> None:
        if len(event.names) == 1:
            self.action_open_id(event.names[0])
            return
        choices = {name: self._named(name) for name in event.names}
        self.push_screen(Choice("which?", choices), lambda name: None if name is None else self.action_open_id(name))

    def _named(self, name: str) -> str:
        """An id with what it stands for, in a line."""
        history = self.view.history
        if name in history.candidates:
            return f"{name}   {history.candidates[name].recipe.metric}"
        return f"{name}   {history.thoughts[name].text[:80]}" if name in history.thoughts else name

    def action_open_id(self, name: str) -> None:
        """What an id stands for, over everything: a candidate, a thought, a call of a designer, a result of a tool."""
        if name.startswith("c-"):
            self.show_candidate(name)
        elif name in self.view.history.thoughts:
            thought = self.view.history.thoughts[name]
            about = f"\n\ndrawn from {', '.join(thought.about)}" if thought.about else ""
            self.push_screen(Reading(f"{name}: {thought.kind}", f"{thought.text}{about}"))
        elif name in self.view.history.answers:
            said = self.view.history.answers[name]
            called = [f"→ {call.name}({call.arguments})" for call in said.calls]
            told = [part for part in (said.thinking, said.text, *called, said.problem) if part]
            self.push_screen(Reading(f"{name}: what the designer thought and said", "\n\n".join(told)))
        elif result := self.dialogue.result(name):
            self.push_screen(Reading(name, result))
        else:
            self.tell("note", f"{name} is nothing that is known here")

    @on(Wanted)
    def _wanted(self, event: Wanted) -> None:
        self.slash.do(NAMED[event.command], *event.runs)

    @on(Conversation.Unread)
    def _unread(self, event: Conversation.Unread) -> None:
        for line in self.query("#unread").results(Static):  # none where the app is being closed
            line.display = event.count > 0
            line.update(f"↓ {event.count} new: End")

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Textual's own, and the slash commands that need no argument."""
        yield from super().get_system_commands(screen)
        for command in COMMANDS:
            if not command.takes or command.takes.startswith("["):
                yield SystemCommand(command.usage, command.does, lambda command=command: self.slash.do(command))

    async def leave_run(self) -> None:
        """Back to the first screen; an engine goes on without a watcher."""
        self.attached, self._lobby = None, RunView()
        self.dialogue.about(None)
        await self._conversation.open(self._lobby)
        self.query_one("#body").add_class("idle")
        self._welcome()
        self._show_all()
