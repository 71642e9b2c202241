"""The full-screen app: talk on the left, panes on the right, a line at the top that says where things stand.

It never works on a model: engines are processes of their own (`agent.session.engines`), and what a person sees is
folded from their journals (`tui.app.view`). Closing it leaves what runs running.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on, work
from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Footer, Input, Static, TabbedContent

from agent.session.engines import launch
from agent.session.settings import Settings
from runs.run import Run, list_runs
from tui.app.attached import Attached
from tui.app.commands import COMMANDS, NAMED
from tui.app.dialogue import Dialogue
from tui.app.face import Face
from tui.app.panes.pane import OpenCandidate, Pane, Wanted
from tui.app.screens import candidate_screen
from tui.app.slash import SlashCommands
from tui.app.themes import HIGH_CONTRAST
from tui.app.view import RunView, Words
from tui.app.widgets.conversation import Conversation
from tui.app.widgets.prompt import Prompt
from tui.app.widgets.status import StatusLine
from tui.app.widgets.welcome import EXAMPLE, Welcome

if TYPE_CHECKING:
    from agent.session.talk.conversation import Talk

TICK = 0.1
"""Seconds between looks into the journal."""
DRAW, PATIENCE = 5, 25
"""Looks from one drawing of the conversation to the next, and while the person types: laying it out costs more than
anything else, and what is typed comes first."""
TYPING = 0.5
"""Seconds after a key for which the person counts as typing."""
TWICE = 2.0
"""Seconds within which the second Ctrl+C leaves."""
NARROW = 100
"""Columns from which the panes stand beside the conversation."""


class SecateurApp(Face):
    """One conversation, one run at a time."""

    TITLE = "secateur"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (NARROW, "-wide")]  # noqa: RUF012 (Textual declares it so)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "step_back", "Pause", id="app.back"),
        Binding("f1", "slash('help')", "Help", id="app.help"),
        *(Binding(f"f{n + 1},alt+{n}", f"pane({n})", f"Pane {n}", show=False, id=f"app.pane{n}") for n in range(1, 7)),
        Binding("ctrl+c", "leave", "Leave", show=False, priority=True, id="app.leave"),
        Binding("ctrl+q", "quit", "Quit", show=False, id="app.quit"),
    ]

    def __init__(self, settings: Settings, *, watch: Run | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.attached: Attached | None = None
        self._watch = watch
        self.dialogue = Dialogue(self, settings, self._begin)
        self._lobby = RunView()
        """What is said before there is a run."""
        self.slash = SlashCommands(self)
        self._ticks = 0
        self._echoed = False
        self._drawn = 0
        self._typed = 0.0
        self._folded = (0, "")
        self._left = 0.0
        self._status = StatusLine()
        self._conversation = Conversation()
        self._prompt = Prompt()
        self._side = Vertical(id="side")
        self._tabs: TabbedContent | None = None
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
        from tui.app.panes.all import panes

        self._tabs = panes(self.settings)
        await self._side.mount(self._tabs)
        self._show_all()
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
        if text.startswith("/"):
            self.slash.read(text)
            return
        if not text:
            if self.dialogue.asks:
                text = "yes"
            elif self.attached is None and not self._lobby.entries:
                text = EXAMPLE
            else:
                return
        if self.attached is not None and self.attached.watching:
            self.tell("note", f"this run is only watched; /open {self.attached.run.id} lets you talk to it")
            return
        self.say(text)

    @on(Input.Changed)
    def _note_typing(self) -> None:
        self._typed = time.monotonic()

    @property
    def _typing(self) -> bool:
        return time.monotonic() - self._typed < TYPING

    def say(self, text: str) -> None:
        """Say something to the program; it answers when it has thought."""
        self._conversation.action_follow()
        self.dialogue.say(text)

    def ask(self, text: str, question: Callable[[Talk], str]) -> None:
        """Show what the person asked, and what the conversation answers, whatever else it is about to answer."""
        self.dialogue.ask_beside(text, question)

    def offer(self, text: str) -> None:
        """Say what Enter on an empty line would do."""
        self._prompt.offer(text)

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
        attached = Attached(run, watching, engine)
        attached.view.follow_on(self.view)
        worker = self.run_worker(attached.read, thread=True, group="read")
        await worker.wait()
        attached.rang = attached.view.over
        self.attached = attached
        self.dialogue.about(None if watching else run)
        self.query_one(Welcome).display = False
        self.query_one("#body").remove_class("idle")
        await self._conversation.open(attached.view)
        self._show_all()
        if self._tabs is not None:
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
        if self._ticks % (DRAW if self._typing else 2) == 0:
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

    async def _draw(self) -> None:
        """Everything that may have changed."""
        if self.attached is not None and (problem := self.attached.look()):
            self.view.echo(Words("error", problem))
        await self._conversation.catch_up()
        if (self.view.generation, self.view.state) != self._folded:  # cards fold when their generation is over
            self._folded = self.view.generation, self.view.state
            await self._conversation.redraw_cards()
        self._show_all()

    def _show_all(self) -> None:
        if self.attached is None:
            self._status.show(None, "● ready")
        else:
            self._status.show(self.view)
        if (pane := self.pane) is not None:
            pane.show(self.view)

    def _ring(self) -> None:
        """The bell, once, where a run that was seen at work ends."""
        attached = self.attached
        if attached is not None and not attached.rang and attached.view.over:
            attached.rang = True
            self.bell()

    @property
    def pane(self) -> Pane | None:
        """The pane that is visible."""
        if self._tabs is None or not self._side.display or (shown := self._tabs.active_pane) is None:
            return None
        found = shown.children[0]
        return found if isinstance(found, Pane) else None

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

    @on(Wanted)
    def _wanted(self, event: Wanted) -> None:
        self.slash.do(NAMED[event.command], *event.runs)

    @on(Conversation.Unread)
    def _unread(self, event: Conversation.Unread) -> None:
        line = self.query_one("#unread", Static)
        line.display = event.count > 0
        line.update(f"↓ {event.count} new: End")

    # Keys

    def action_pane(self, number: int) -> None:
        """Show a pane; again closes it where it lies over the conversation."""
        body, content = self.query_one("#body"), self._tabs
        if content is None:
            return
        chosen = f"pane-{number}"
        if self.screen.has_class("-narrow") and body.has_class("open") and content.active == chosen:
            self.action_step_back()
            return
        body.add_class("open")
        content.active = chosen
        self._show_all()
        if (pane := self.pane) is not None:
            for widget in pane.query("*"):
                if widget.focusable:
                    widget.focus()
                    return

    def action_step_back(self) -> None:
        """Close what lies over the conversation, else stop the run softly."""
        body = self.query_one("#body")
        line = self._prompt.line
        if body.has_class("open") or self.focused is not line:
            body.remove_class("open")
            line.focus()
        elif self.dialogue.busy:
            self.dialogue.stop()
        elif line.value:
            line.value = ""
        elif self.attached is not None and self.attached.working and not self.attached.watching:
            self.action_slash("pause")

    def action_leave(self) -> None:
        """Ctrl+C copies what is selected; twice it leaves."""
        if self.screen.get_selected_text():
            self.screen.action_copy_text()
            return
        if time.monotonic() - self._left < TWICE:
            self.exit()
            return
        self._left = time.monotonic()
        going = self.attached is not None and self.attached.working
        self.notify("Ctrl+C again leaves" + ("; the run goes on" if going else ""), timeout=TWICE)

    def action_slash(self, name: str) -> None:
        """A key that stands for a slash command."""
        self.slash.do(NAMED[name])

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
