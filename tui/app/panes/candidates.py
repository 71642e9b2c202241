"""The table of candidates, with the references always in it, and the curve of the best."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import DataTable, Sparkline, Static

from runs.fold.words import course, number
from tools.prune.experts_and_width.pattern import ExpertsAndWidth
from tools.recipe import Recipe
from tui.app.panes.pane import OpenCandidate, Pane
from tui.app.view import RunView
from tui.app.widgets.flow import flow

COLUMNS = ("#", "KL search", "ppl select", "ppl test", "metric", "allocation", "with")
"""A column holds numbers of one text and says of which: KL on the search text, and perplexities of final forms on the
text that selects and on the one of the final table."""
SORTABLE = 4
"""The first columns; the others are shown where rows differ in them."""
WITH = COLUMNS.index("with")
RECIPE = len(COLUMNS)
"""Where the others do not fit beside each other, the column that tells of all of them, in as many lines as it takes."""
LEAST = 12
"""Characters that it has at the least."""
PAD = 2
"""The spaces at both sides of a column."""
BAR = 2
"""What the scroll bar may take."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    leads: bool
    divergence: float | None
    tokens: int
    most: bool
    """Whether it was measured on as many tokens as any; a number over fewer is put in brackets."""
    selection: float | None
    """Perplexity on the text that selects among finalists."""
    test: float | None
    """Perplexity on the held-out text."""
    recipe: Recipe | None
    apart: str = ""
    """In what the recipe differs from others that read alike."""

    @property
    def cells(self) -> tuple[str, ...]:
        """What the table says in each of `COLUMNS`; the leader has a star."""
        recipe = self.recipe
        return (
            f"{'★' if self.leads else ' '} {self.name}",
            f"{_shown(self.divergence, rough=not self.most):>7}",
            f"{_shown(self.selection):>6}",
            f"{_shown(self.test):>6}",
            "" if recipe is None else recipe.metric,
            "" if recipe is None else ", ".join(filter(None, [_allocation(recipe), self.apart])),
            "" if recipe is None or recipe.compensation.kind == "none" else str(recipe.compensation),
        )

    def key(self, column: int) -> tuple[bool, int, float]:
        """Sorts by a column: numbers over more tokens before those over fewer, rows without a number last."""
        if column == 0:
            return False, 0, int(self.name[2:]) if self.name[2:].isdigit() else -1
        value = (self.divergence, self.selection, self.test)[column - 1]
        if value is None:
            return True, 0, 0.0
        return False, -self.tokens if column == 1 else 0, value


def _shown(value: float | None, rough: bool | None = None) -> str:
    """A number, in brackets where it is rough; a column that may hold rough ones leaves room for the bracket."""
    text = "·" if value is None else number(value)
    return text if rough is None else f"({text})" if rough else f"{text} "


def _allocation(recipe: Recipe) -> str:
    """By block is what allocations usually are, so it is not said; of rates that are given, the lowest and highest.
    Where there are two sides, their split comes first."""
    rates, told = recipe.allocation.vector, str(recipe.allocation).removesuffix(" per block")
    if rates is not None:
        told = f"rates {100 * min(rates):.3g} to {100 * max(rates):.3g} %"
    elif recipe.allocation.uniform:
        told = "uniform"
    return f"{recipe.pattern.split}, {told}" if isinstance(recipe.pattern, ExpertsAndWidth) else told


def _apart(found: Sequence[Row]) -> list[Row]:
    """The rows, those that read alike with what their recipes differ in."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in found:
        groups.setdefault(row.cells[SORTABLE:], []).append(row)
    return [_told_apart(row, [other for other in groups[row.cells[SORTABLE:]] if other.recipe]) for row in found]


def _told_apart(row: Row, group: Sequence[Row]) -> Row:
    """With the part of its recipe that tells most of these apart."""
    if row.recipe is None or len(group) < 2:
        return row
    parts = [dict(_parts(other.recipe.model_dump(mode="json"))) for other in group if other.recipe is not None]
    kinds = {name: len({part.get(name) for part in parts}) for part in parts for name in part}
    name = max(kinds, key=lambda one: kinds[one], default="")
    if kinds.get(name, 1) < 2:
        return row
    return replace(row, apart=f"{name} {dict(_parts(row.recipe.model_dump(mode='json'))).get(name, 'none')}")


def _parts(of: Mapping[str, Any], inside: str = "") -> Iterator[tuple[str, str]]:
    """What a recipe holds, by its name in words; rates by their unit."""
    for name, value in of.items():
        called = name.replace("_", " ")
        if isinstance(value, dict):
            yield from _parts(value, called)
        elif name == "vector" and isinstance(value, list):
            yield from ((f"unit {unit}", f"{100 * rate:.3g} %") for unit, rate in enumerate(value))
        elif value is not None:
            yield f"{inside} {called}".strip(), str(value)


def rows(view: RunView) -> list[Row]:
    """Candidates that have a number, of whatever kind, and the references."""
    history = view.history
    most = max((max(found) for found in history.divergences.values()), default=0)
    found = []
    for name, candidate in history.candidates.items():
        measured = history.divergences.get(name, {})
        tokens = max(measured, default=0)
        kl = measured[tokens].value if measured else None
        selection = history.selections[name].value if name in history.selections else None
        test = history.finals[name].measurement.value if name in history.finals else None
        if (kl, selection, test) != (None, None, None):
            leads = view.leader == name
            found.append(Row(name, leads, kl, tokens, tokens in (0, most), selection, test, candidate.recipe))
    return [*_apart(found), *_references(view)]


def _references(view: RunView) -> list[Row]:
    divergences: dict[str, tuple[int, float]] = {}
    for (name, tokens), measured in view.history.references.items():
        if measured.kind == "divergence" and tokens >= divergences.get(name, (0, 0.0))[0]:
            divergences[name] = (tokens, measured.value)
    finals = {name: e for name, e in view.history.finals.items() if name not in view.history.candidates}
    found = []
    made = [name for name in view.history.selections if name not in view.history.candidates]
    for name in dict.fromkeys([*divergences, *finals, *made]):
        selection = view.history.selections[name].value if name in made else None
        tokens, value = divergences.get(name, (0, None))
        recipe = finals[name].recipe if name in finals else None
        test = finals[name].measurement.value if name in finals else None
        kl = 0.0 if name == "dense" else value
        found.append(Row(name, view.leader == name, kl, tokens or 10**9, True, selection, test, recipe))
    return found


def differing(found: Sequence[Row]) -> list[int]:
    """The columns in which recipes of candidates differ, and always by what they are compensated, which is part of how
    a candidate is called; all of them where there is nothing to compare."""
    own = [row.cells for row in found if row.recipe is not None]
    columns = range(SORTABLE, len(COLUMNS))
    kinds = [{cells[column] for cells in own} for column in columns]
    whole = len(own) < 2
    return [c for c, found in zip(columns, kinds, strict=True) if whole or len(found) > 1 or (c == WITH and any(found))]


def alike(found: Sequence[Row]) -> list[str]:
    """What all recipes have in common, and no column tells."""
    shown, own = differing(found), [row.cells for row in found if row.recipe is not None]
    hidden = [column for column in range(SORTABLE, len(COLUMNS)) if column not in shown]
    return [own[0][column] for column in hidden if own and own[0][column]]


def arranged(found: Sequence[Row], width: int) -> list[tuple[int, int]]:
    """The columns for a table of that width, and how wide each is inside. They are told before rows are there: a header
    is not drawn anew for what comes after it."""
    telling, least = differing(found), [_taken(found, column) for column in range(len(COLUMNS))]
    wide = [*range(SORTABLE), *telling]
    if not telling or sum(least[column] + PAD for column in wide) <= width:
        return [(column, least[column]) for column in wide]
    rest = width - sum(least[column] + PAD for column in range(SORTABLE)) - PAD
    return [*((column, least[column]) for column in range(SORTABLE)), (RECIPE, max(LEAST, rest))]


def _taken(found: Sequence[Row], column: int) -> int:
    """The width of what a column holds."""
    return max(*map(len, COLUMNS[column].split()), *(cell_len(row.cells[column]) for row in found), 0)


def told(row: Row, column: int, telling: Sequence[int]) -> str:
    """What a row says in a column."""
    if column != RECIPE:
        return row.cells[column]
    return ", ".join(cell for cell in (row.cells[of] for of in telling) if cell)


class CandidatesPane(Pane):
    """Alt+S sorts by the next column, Enter opens a candidate."""

    NAME = "Candidates"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("alt+s", "sort", "Sort", id="candidates.sort")]
    DEFAULT_CSS = """
    CandidatesPane DataTable { height: 1fr; }
    CandidatesPane #curve { height: 2; margin: 0 1; }
    CandidatesPane #caption { height: auto; color: $text-muted; padding: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._column = 1
        self._rows: list[Row] = []
        self._columns: list[tuple[int, int]] = []
        self._width = 0
        self._drawn = 0
        """Points of the curve."""

    def compose(self) -> ComposeResult:
        """The table, how it is sorted, the curve of the best."""
        yield DataTable(cursor_type="row", zebra_stripes=True, fixed_columns=1, header_height=2)
        yield Static(id="caption", markup=False)
        yield Sparkline([], summary_function=min, id="curve")

    def on_mount(self) -> None:
        """Columns are there before the first row."""
        if not self._columns:  # it was not shown before
            self._set_columns(arranged([], self.size.width))

    def on_resize(self) -> None:
        """As many columns as fit."""
        if self._view is not None:
            self.show(self._view)

    def _set_columns(self, columns: list[tuple[int, int]]) -> None:
        self._columns = columns
        table = self.query_one(DataTable)
        table.clear(columns=True)
        for column, width in columns:
            words = ["recipe"] if column == RECIPE else COLUMNS[column].split()
            lines = (f"{word:>6}" if 0 < column < SORTABLE else word for word in words)
            table.add_column(Text("\n".join(lines)), width=width)

    def show(self, view: RunView) -> None:
        """Rows are written anew only where one of them changed."""
        found = sorted(rows(view), key=lambda row: (not row.leads, row.key(self._column)))
        if found != self._rows or self.size.width != self._width:
            self._width = self.size.width
            self._fill(found)
        curve = view.history.curve
        if len(curve) != self._drawn:
            self._drawn = len(curve)
            self.query_one("#curve", Sparkline).data = list(curve)
        last = course(curve) if curve else "nothing is measured yet"
        parts = [last, f"sorted by {COLUMNS[self._column]} (Alt+S)", f"rejected {len(view.history.rejected)}"]
        parts += ["(in brackets): over fewer tokens"] if any(not row.most for row in found) else []
        if any(row.selection or row.test for row in found):
            parts += ["ppl: perplexity, on the text that selects and on the test text"]
        parts += [f"all: {', '.join(alike(found))}"] if alike(found) else []
        self.query_one("#caption", Static).update(Content(flow(parts, self.size.width - 2)))
        self._view = view

    _view: RunView | None = None

    def _fill(self, found: list[Row]) -> None:
        """Fill the table anew; the cursor stays on its candidate."""
        table = self.query_one(DataTable)
        at = self._rows[table.cursor_row].name if 0 <= table.cursor_row < len(self._rows) else ""
        if (columns := arranged(found, self._width - BAR)) != self._columns:
            self._set_columns(columns)
        table.clear()
        telling = differing(found)
        for row in found:
            table.add_row(*(Text(told(row, column, telling)) for column, _ in columns), key=row.name, height=None)
        self._rows = found
        names = [row.name for row in found]
        if at in names:
            table.move_cursor(row=names.index(at), scroll=False)

    def action_sort(self) -> None:
        """Sort by the next column that can be sorted by."""
        self._sort_by((self._column + 1) % SORTABLE)

    @on(DataTable.HeaderSelected)
    def _header(self, event: DataTable.HeaderSelected) -> None:
        self._sort_by(min(event.column_index, SORTABLE - 1))

    def _sort_by(self, column: int) -> None:
        self._column = column
        if self._view is not None:
            self.show(self._view)

    @on(DataTable.RowSelected)
    def _open(self, event: DataTable.RowSelected) -> None:
        event.stop()
        name = str(event.row_key.value)
        if self._view is not None and name in self._view.history.candidates:
            self.post_message(OpenCandidate(name))
