"""What past runs found out, searched by words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Show
from textual.timer import Timer
from textual.widgets import DataTable, Input, Static
from textual.worker import get_current_worker

from memory.index import Memory
from memory.remembered import Remembered
from runs.fold.words import number
from tools.io.errors import SecateurError
from tui.app.panes.pane import Pane
from tui.app.view import RunView

_COLUMNS = {"relative": 0, "KL": 48, "id": 0, "model": 70, "recipe": 0}
"""What is shown of a memory, and from how many columns of the screen."""
_PAUSE = 0.3
"""Seconds without typing before the memory is searched."""
_PATIENCE = 5.0
"""Seconds to wait for another process that is in the memory."""
_HELP = "relative: KL (else perplexity) over the best reference's; below 1 it won"
_EMPTY = "Memory is empty. Every run that measures candidates fills it: prune a model, then come back."
_NOTHING = "Nothing names all of these words. Use fewer of them: parts of a model, metric, allocation, pattern or run."


class MemoryPane(Pane):
    """Words above, what they find below; the memory is first read when the pane is first seen."""

    NAME = "Memory"
    DEFAULT_CSS = """
    MemoryPane { padding: 0 1; }
    MemoryPane #said { height: auto; color: $text-muted; }
    MemoryPane DataTable { height: 1fr; }
    MemoryPane #recipe { height: auto; max-height: 50%; overflow-y: auto; border-top: solid $panel; display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "into_results", "Results", show=False, id="memory.results"),
    ]

    def __init__(self, home: Path) -> None:
        super().__init__()
        self.home = home
        self._found: dict[str, Remembered] = {}
        self._seen = False
        self._waiting: Timer | None = None

    def compose(self) -> ComposeResult:
        """The words, how many were found, the table, the recipe under the cursor."""
        yield Input(placeholder="words", compact=True)
        yield Static(id="said", markup=False)
        table: DataTable[Text] = DataTable(cursor_type="row", zebra_stripes=True)
        yield table
        yield Static(id="recipe", markup=False)

    def on_resize(self) -> None:
        """A narrow pane shows fewer columns."""
        self._fill()

    def show(self, view: RunView) -> None:
        """The memory is of all runs: one of them changes nothing here."""

    @on(Show)
    def _first_seen(self) -> None:
        if not self._seen:
            self.refresh_results()

    def refresh_results(self) -> None:
        """Search again with the words that stand there, for example when a run has ended."""
        self._seen = True
        if self._waiting is not None:
            self._waiting.stop()
        self._say("searching …")
        self._search(self.query_one(Input).value)

    @on(Input.Changed)
    def _typed(self) -> None:
        if self._waiting is not None:
            self._waiting.stop()
        self._waiting = self.set_timer(_PAUSE, self.refresh_results)

    @on(Input.Submitted)
    def _sent(self, event: Input.Submitted) -> None:
        event.stop()
        self.refresh_results()

    def action_into_results(self) -> None:
        """From the words down into what they found."""
        self._table.focus()

    @on(DataTable.RowSelected)
    def _open(self, event: DataTable.RowSelected) -> None:
        event.stop()
        recipe = self.query_one("#recipe", Static)
        recipe.update(_told(self._found[str(event.row_key.value)]))
        recipe.display = True

    @work(thread=True, exclusive=True)
    def _search(self, words: str) -> None:
        worker = get_current_worker()
        try:
            found, said = Memory(self.home, wait=_PATIENCE).search(words), _HELP
        except SecateurError as error:
            found, said = [], str(error)
        else:
            said = said if found else _NOTHING if words.strip() else _EMPTY
        if not worker.is_cancelled:
            self.app.call_from_thread(self._take, found, said)

    def _take(self, found: Sequence[Remembered], said: str) -> None:
        if self.is_mounted:
            self._found = {memory.id: memory for memory in found}
            self.query_one("#recipe").display = False
            self._fill()
            self._say(said)

    def _fill(self) -> None:
        names = [name for name, least in _COLUMNS.items() if self.size.width >= least]
        table, row = self._table, self._table.cursor_row
        table.clear(columns=True)
        for name in names:
            table.add_column(_aligned(name, name))
        for memory in self._found.values():
            cells = _cells(memory)
            table.add_row(*(_aligned(name, cells[name]) for name in names), key=memory.id)
        table.move_cursor(row=row)
        table.display = bool(self._found)

    def _say(self, text: str) -> None:
        self.query_one("#said", Static).update(text)

    @property
    def _table(self) -> DataTable[Text]:
        return self.query_one(DataTable)


def _cells(memory: Remembered) -> dict[str, str]:
    return {
        "relative": "-" if memory.relative is None else f"{memory.relative:.3f}",
        "KL": "-" if memory.divergence is None else f"{memory.divergence:.4f}",
        "id": memory.id,
        "model": Path(memory.model).name,
        "recipe": str(memory.recipe),
    }


def _aligned(column: str, text: str) -> Text:
    """Plain text (brackets stay brackets), numbers to the right."""
    return Text(text, justify="right" if column in ("relative", "KL") else "left")


def _told(memory: Remembered) -> str:
    """Everything a person may want to know of a memory."""
    lines = [f"{memory.id}   {memory.model}   {memory.when:%Y-%m-%d %H:%M} UTC", f"{memory.recipe}"]
    lines.append(f"removes {100 * memory.recipe.sparsity:.3g} % of the weights   recipe {memory.recipe.id}")
    if memory.divergence is not None:
        beside = "" if memory.reference is None else f", best reference {number(memory.reference)}"
        lines.append(f"KL {number(memory.divergence)} over {memory.tokens:,} tokens{beside}")
    if memory.perplexity is not None:
        others = {"dense": memory.dense_perplexity, "best reference": memory.reference_perplexity}
        beside = "".join(f", {name} {number(value)}" for name, value in others.items() if value is not None)
        lines.append(f"perplexity {number(memory.perplexity)} on the held-out text{beside}")
    return "\n".join(lines)
