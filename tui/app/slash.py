"""What the slash commands do; the app itself stays about looking and talking."""

from __future__ import annotations

import inspect
import webbrowser
from collections.abc import Callable
from datetime import datetime

from agent.session.engines import launch, pause
from agent.session.told import told
from runs.run import Run, Status, open_run, remove
from tools.io.errors import SecateurError, UsageError
from tools.io.files import expanded
from tui.app.commands import COMMANDS, Command, parse
from tui.app.face import Face
from tui.app.panes.pane import ORDER
from tui.app.screens import EDGES, WIDEST, Choice, Confirm, Reading
from tui.text.ending import beside

KEYS = """Keys
  letters      are written into the prompt, wherever the focus is
  Enter        send; on an empty line the example, yes to a plan, or what can follow a finished run
  Esc          close a pane, stop an answer, clear the line, stop the run softly: the footer says which
  PgUp PgDn    scroll the conversation       End: follow again
  Ctrl+C       copy what is selected; twice: leave (a run goes on)
  F2 … F7      panes, also Alt+1 … Alt+6; again closes; Tab and Shift+Tab walk through everything
  ↑ ↓ Enter    in the conversation: move, open; Alt+C copies
  Ctrl+P       palette
"""


class SlashCommands:
    """One method for each command of `tui.app.commands`; what any of them raises is told the person."""

    def __init__(self, app: Face) -> None:
        self._app = app

    def read(self, text: str) -> None:
        """Carry out a line that begins with a slash."""
        command, arguments = parse(text)
        if command is None:
            self._app.tell("note", f"{text.split()[0]} is not a command; /help lists them")
        else:
            self.do(command, *arguments)

    def do(self, command: Command, *arguments: str) -> None:
        """Carry out a command; what is wrong with it is told in one line."""
        method = getattr(self, f"command_{command.name}")
        try:
            bound = inspect.signature(method).bind(*arguments)
        except TypeError:
            self._app.tell("note", f"it is used as {command.usage}: {command.does}")
            return
        try:
            method(*bound.args)
        except Exception as error:  # one command fails, the app goes on
            self._app.tell("error", told(error))

    def _named(self, name: str | None) -> Run:
        """A run by its id, or the one that is shown.

        Raises:
            SecateurError: there is none.
        """
        if name is not None:
            return open_run(self._app.settings.home, name)
        if self._app.attached is None:
            raise SecateurError("no run is open: /runs lists them")
        return self._app.attached.run

    def _touched(self) -> Run:
        """The run that is shown, where it may be steered from here.

        Raises:
            SecateurError: there is none, or it is only watched.
        """
        run, attached = self._named(None), self._app.attached
        if attached is not None and attached.watching:
            raise SecateurError(f"run {run.id} is only watched: /open {run.id} lets you steer it")
        return run

    def command_pause(self) -> None:
        """Asks the engine of this run to stop where it is; that none works is no error."""
        run = self._touched()
        if run.engine is None:
            self._app.tell("note", f"nobody works on run {run.id} now")
            return
        pause(run)
        self._app.tell("note", "pausing after what is running now")

    def command_resume(self, name: str | None = None) -> None:
        """Starts an engine unless one works on the run or the run is finished; shows the run in any case."""
        run = self._named(name)
        if run.status() is Status.FINISHED:
            self._app.attach(run)
            self._app.notify(f'{run.id} is finished: say "go on for ten minutes" to search further', timeout=6)
        elif run.engine is None:
            self._app.attach(run, engine=launch(run, self._app.settings.values.threads))
        else:
            self._app.attach(run)

    def command_open(self, name: str) -> None:
        """Shows a run, with what can be said to it."""
        self._app.attach(self._named(name))

    def command_watch(self, name: str) -> None:
        """Shows a run that nothing said here shall reach."""
        self._app.attach(self._named(name), watching=True)

    def command_stop(self) -> None:
        """Ends the answer that is under way, and has the engine conclude with the best so far; SecateurError where
        there is neither."""
        if self._app.dialogue.busy:
            self._app.dialogue.stop(quietly=True)
            if self._app.attached is None or self._app.attached.watching or not self._app.attached.working:
                self._app.tell("note", "stopped the answer")
                return
        run = self._touched()
        if run.engine is None:
            raise SecateurError(f"nobody works on run {run.id} now")
        run.stop()
        self._app.tell("note", "it ends after this step and concludes with the best so far")

    def command_next(self) -> None:
        """A menu, whose entries are said; SecateurError where no run came to its end."""
        found = self._app.view.next_steps
        if not found:
            raise SecateurError("no run that is finished is open: /runs lists them")
        lines = beside(found, int(WIDEST * self._app.size.width) - EDGES)
        choices = {step.sentence: line for step, line in zip(found, lines, strict=True)}
        self._app.push_screen(Choice("what next?", choices), lambda said: None if said is None else self._app.say(said))

    def command_back(self) -> None:
        """Said to the conversation, which lets the models go; SecateurError where nobody talks to them."""
        if not self._app.dialogue.models:
            raise SecateurError('you talk to no model: "chat with both" begins that')
        self._app.say("/back")

    def command_new(self) -> None:
        """Leaves the run for the first screen; its engine goes on."""
        self._app.run_worker(self._app.leave_run())

    def _pane(self, kind: str) -> None:
        self._app.action_pane(1 + ORDER.index(kind))

    def command_candidates(self) -> None:
        """Shows that pane."""
        self._pane("candidates")

    def command_layers(self) -> None:
        """Shows that pane."""
        self._pane("layers")

    def command_thoughts(self) -> None:
        """Shows that pane."""
        self._pane("thoughts")

    def command_progress(self) -> None:
        """Shows that pane."""
        self._pane("progress")

    def command_runs(self) -> None:
        """Shows that pane."""
        self._pane("runs")

    def command_memory(self, *words: str) -> None:
        """Shows that pane, with words already searched for where some are given."""
        from textual.widgets import Input

        self._pane("memory")
        if words and self._app.pane is not None:
            self._app.pane.query_one(Input).value = " ".join(words)

    def command_show(self, name: str) -> None:
        """Opens a candidate of this run over everything."""
        self._app.show_candidate(name)

    def command_compare(self, *names: str) -> None:
        """Reads the runs in a thread; UsageError for fewer than two."""
        if len(names) < 2:
            raise UsageError("compare needs at least two runs; /runs marks them")
        runs = [self._named(name) for name in names]
        self._aside(lambda: self._compare(runs))

    def _aside(self, work: Callable[[], None]) -> None:
        """Work in a thread; what goes wrong there is told, too."""

        def told_aside() -> None:
            try:
                work()
            except Exception as error:  # one command fails, the app goes on
                self._app.call_from_thread(self._app.tell, "error", told(error))

        self._app.run_worker(told_aside, thread=True)

    def _compare(self, runs: list[Run]) -> None:
        from runs.fold.summary import summary
        from tui.text.comparison import side_by_side

        text = side_by_side([summary(run.history()) for run in runs])
        self._app.call_from_thread(self._app.push_screen, Reading("runs side by side", text))

    def command_report(self) -> None:
        """Written in a thread, then opened in a browser where there is one."""
        run = self._named(None)
        self._aside(lambda: self._report(run))

    def _report(self, run: Run) -> None:
        """Written anew, since a run at work has come further."""
        from runs.report import write

        write(run)
        opened = webbrowser.open(run.report_html.as_uri())
        more = "" if opened else "; no browser was found here"
        self._app.call_from_thread(self._app.tell, "note", f"report: {run.report_html}{more}")

    def command_export(self, folder: str) -> None:
        """Said to the conversation, which copies the pruned model; SecateurError where the run is only watched, as the
        conversation is about another one then."""
        if self._app.attached is not None:
            self._touched()
        self._app.ask(f"/export {folder}", lambda talk: talk.export(folder))

    def command_copy(self, *what: str) -> None:
        """The leader's formula, or what is named; UsageError for a candidate that is not of this run."""
        names = [word for word in what if word != "recipe"] or [self._app.view.leader or ""]
        candidate = self._app.view.history.candidates.get(names[0])
        if candidate is None:
            raise UsageError("name a candidate of this run, as c-3")
        recipe = candidate.recipe
        self._app.copy_to_clipboard(recipe.yaml if "recipe" in what else recipe.metric)
        self._app.notify(f"copied {'the recipe' if 'recipe' in what else 'the formula'} of {candidate.id}", timeout=3)

    def command_remove(self, name: str) -> None:
        """Asks first, as nothing brings the run back."""
        run = self._named(name)
        size = sum(path.stat().st_size for path in run.folder.rglob("*") if path.is_file())
        question = f"Delete run {run.id} ({run.goal}) with everything in it, {size / 2**20:,.0f} MiB?"

        def answered(yes: bool | None) -> None:
            if not yes:
                return
            try:
                remove(run)
            except SecateurError as error:
                self._app.tell("error", str(error))
                return
            if self._app.attached is not None and self._app.attached.run.id == run.id:
                self.command_new()
            self._app.notify(f"removed {run.id}", timeout=3)

        self._app.push_screen(Confirm(question), answered)

    def command_theme(self, name: str | None = None) -> None:
        """Without a name Textual's list opens; UsageError for a name that is not in it."""
        if name is None:
            self._app.action_change_theme()
        elif name not in self._app.available_themes:
            raise UsageError(f"{name} is not a theme: {', '.join(sorted(self._app.available_themes))}")
        else:
            self._app.theme = name

    def command_screenshot(self, file: str | None = None) -> None:
        """An SVG where the person says, or in the working directory under the time of day."""
        place = expanded(file or f"secateur-{datetime.now():%Y%m%d-%H%M%S}.svg").resolve()
        try:
            place.write_text(self._app.export_screenshot(), encoding="utf-8")
        except OSError as error:
            raise SecateurError(f"{place}: cannot be written ({error.strerror}); name another file") from error
        self._app.notify(f"saved {place}", timeout=4, markup=False)

    def command_help(self) -> None:
        """What can be said, keys and commands, as a text over everything."""
        from agent.session.talk.tools.help import HELP

        width = max(len(c.usage) for c in COMMANDS)
        commands = "\n".join(f"  {c.usage:<{width}}  {c.does}" for c in COMMANDS)
        self._app.push_screen(Reading("help", f"{HELP}\n\n{KEYS}\nCommands\n{commands}"))

    def command_quit(self) -> None:
        """Closes the app; engines are processes of their own and go on."""
        self._app.exit()
