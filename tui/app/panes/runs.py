"""All runs of the home: open, resume, compare, remove."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Static

from agent.session.settings import Settings
from runs.fold.summary import summary
from runs.fold.words import number
from runs.run import Run, list_runs
from tui.app.panes.pane import Pane, Wanted
from tui.app.screens import Choice
from tui.app.view import RunView


@dataclass(frozen=True)
class Known:
    """What the list shows of a run."""

    id: str
    when: str
    status: str
    goal: str
    dense: str
    result: str
    read: str
    """The text behind the two: rows with different ones do not compare."""


def known(run: Run) -> Known:
    """Read a run for the list.

    Raises:
        SecateurError: its files are damaged.
    """
    history = run.history()
    found = None if history.goal is None else summary(history)
    values = [None, None] if found is None else [found.dense, found.winner]
    dense, result = ("·" if row is None else number(row.perplexity) for row in values)
    when = datetime.fromtimestamp(run.created).strftime("%m-%d %H:%M")
    protocol = None if found is None else found.protocol
    read = "" if protocol is None else f"{protocol.text} {protocol.windows}x{protocol.length}"
    return Known(run.id, when, str(run.status(history)), str(run.goal), dense, result, read)


class RunsPane(Pane):
    """Enter says what can be done with a run."""

    NAME = "Runs"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("delete", "ask('remove')", "Remove", id="runs.remove")]
    DEFAULT_CSS = """
    RunsPane DataTable { height: 1fr; }
    RunsPane #told { height: auto; color: $text-muted; padding: 0 1; }
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._home = settings.home
        self._marked: set[str] = set()
        self._known: dict[tuple[str, float], Known] = {}
        self._shown: tuple[list[Known], set[str]] | None = None

    def compose(self) -> ComposeResult:
        """The table, and what its keys do."""
        yield DataTable(cursor_type="row", zebra_stripes=True)
        yield Static("Enter: open, resume, compare or remove a run", id="told")

    def on_mount(self) -> None:
        """Columns are there before the first row."""
        self.query_one(DataTable).add_columns("", "run", "when", "status", "dense", "result", "read", "goal")

    def show(self, view: RunView) -> None:
        """Look at all runs again, in a thread; the one that is shown is not asked."""
        self._read()

    @work(thread=True, exclusive=True)
    def _read(self) -> None:
        """Read what changed; a finished run is read once."""
        found = []
        for run in reversed(list_runs(self._home)):
            try:
                key = (run.id, run.journal.path.stat().st_mtime if run.journal.path.exists() else 0.0)
                if key not in self._known or self._known[key].status == "working":
                    self._known[key] = known(run)
                found.append(self._known[key])
            except Exception as error:  # a damaged run is told of and can still be removed
                found.append(Known(run.id, "", "damaged", " ".join(str(error).split()), "·", "·", ""))
        self.app.call_from_thread(self._fill, found)

    def _fill(self, found: list[Known]) -> None:
        """Fill the table anew where anything differs: it is asked twice a second."""
        if (shown := (found, set(self._marked))) == self._shown:
            return
        self._shown = shown
        table = self.query_one(DataTable)
        at = self._at
        table.clear()
        for one in found:
            cells = ("✓" if one.id in self._marked else " ", one.id, one.when, one.status)
            numbers = (f"{one.dense:>7}", f"{one.result:>7}")
            table.add_row(*(Text(cell) for cell in (*cells, *numbers, one.read, one.goal)), key=one.id)
        if at and any(one.id == at for one in found):
            table.move_cursor(row=table.get_row_index(at))

    @property
    def _at(self) -> str | None:
        table = self.query_one(DataTable)
        if not table.row_count:
            return None
        return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value

    @on(DataTable.RowSelected)
    def _choose(self, event: DataTable.RowSelected) -> None:
        event.stop()
        at = str(event.row_key.value)
        marked = sorted(self._marked | {at})
        choices = {"open": "Open", "resume": "Resume, where it did not come to its end", "watch": "Watch only"}
        choices["mark"] = "Take its mark away" if at in self._marked else "Mark it to be compared"
        choices |= {"compare": f"Compare {', '.join(marked)}"} if len(marked) > 1 else {}
        choices["remove"] = "Remove"

        def chosen(command: str | None) -> None:
            if command == "mark":
                self._marked ^= {at}
                self._read()
            elif command is not None:
                self.post_message(Wanted(command, marked if command == "compare" else [at]))

        self.app.push_screen(Choice(f"run {at}", choices), chosen)

    def action_ask(self, command: str) -> None:
        """Ask the app for a command on the run under the cursor."""
        if (at := self._at) is not None:
            self.post_message(Wanted(command, [at]))
