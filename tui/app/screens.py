"""Screens that lie over the app: a candidate in full, a text to read, a question to confirm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, OptionList, Static
from textual.widgets.option_list import Option

from runs.fold.summary import describe
from runs.fold.words import number
from tools.recipe.measurement import Measurement
from tui.app.view import RunView

_BAR = 30


class Reading(ModalScreen[None]):
    """A text over everything; Escape closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Close", id="reading.close"),
        Binding("alt+c", "copy", "Copy", id="reading.copy"),
    ]
    DEFAULT_CSS = """
    Reading { align: center middle; }
    Reading VerticalScroll { width: 90%; max-width: 110; height: auto; max-height: 90%; border: round $primary;
                             background: $surface; padding: 0 2; }
    """

    def __init__(self, title: str, text: str | Content, copied: str = "") -> None:
        super().__init__()
        self._title, self._text, self._copied = title, text, copied

    def compose(self) -> ComposeResult:
        """A box that scrolls; its frame says what the keys do."""
        with VerticalScroll() as box:
            box.border_title = Content(self._title)
            box.border_subtitle = "Esc closes, Alt+C copies"
            yield Static(self._text, markup=False)

    def action_copy(self) -> None:
        """The text, or what was given to be copied in its place."""
        self.app.copy_to_clipboard(self._copied or str(self._text))
        self.app.notify("copied", timeout=2)


WIDEST = 0.95
"""Of the screen, what a choice may take."""
EDGES = 8
"""Columns of a choice that hold no words: its frame, what stands around an entry, and the bar."""


class Choice(ModalScreen[str]):
    """A few things to choose from; Escape chooses none."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "Close", id="choice.close")]
    DEFAULT_CSS = """
    Choice { align: center middle; }
    Choice OptionList { width: auto; min-width: 40; max-width: 95%; height: auto; max-height: 90%;
                        border: round $primary; background: $surface; padding: 0 1; }
    """

    def __init__(self, title: str, choices: Mapping[str, str]) -> None:
        """`choices`: what is said of each, by what is returned for it."""
        super().__init__()
        self._title, self._choices = title, choices

    def compose(self) -> ComposeResult:
        """One line each; the frame says what the keys do."""
        found = OptionList(*(Option(Content(text), id=name) for name, text in self._choices.items()))
        found.border_title = Content(self._title)
        found.border_subtitle = "Enter chooses, Esc closes"
        yield found

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)


class Confirm(ModalScreen[bool]):
    """A question before something that cannot be undone."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", id="confirm.yes"),
        Binding("n,escape", "answer(False)", "No", id="confirm.no"),
    ]
    DEFAULT_CSS = """
    Confirm { align: center middle; }
    Confirm VerticalScroll { width: 70; max-width: 95%; height: auto; border: round $warning; background: $surface;
                             padding: 1 2; }
    Confirm Horizontal { height: auto; margin: 1 0 0 0; }
    Confirm Button { margin: 0 2 0 0; }
    """

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """The question, and No before Yes."""
        with VerticalScroll():
            yield Static(self._question, markup=False)
            with Horizontal():
                yield Button("No (n)", id="no", compact=True)
                yield Button("Yes (y)", id="yes", variant="warning", compact=True)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        """Close, and tell who asked."""
        self.dismiss(yes)


def candidate_text(view: RunView, name: str) -> Content:
    """Everything about a candidate: formula, origin, reason, measurements with their protocol, sparsity by block."""
    candidate, history = view.history.candidates[name], view.history
    recipe = candidate.recipe
    made = f"{candidate.operator}{' of ' if candidate.parents else ''}{', '.join(candidate.parents)}"
    by = f" by {candidate.designer}" if candidate.designer else ""
    rows = [
        ("metric", recipe.metric),
        ("allocation", str(recipe.allocation)),
        ("with", f"{recipe.compensation}, {recipe.pattern}, sparsity {100 * recipe.sparsity:g} %"),
        ("made", f"generation {candidate.generation}: {made}{by}"),
        ("why", candidate.why or "-"),
        *(("thought", f"{t}: {history.thoughts[t].text}") for t in candidate.thoughts if t in history.thoughts),
        ("outcome", view.outcome(name)),
        ("recipe id", recipe.id),
    ]
    facts = "\n".join(f"{label:<11} {text}" for label, text in rows)
    parts = [facts, *_measured(view, name), *_rates(history.rates.get(name, ()))]
    return Content("\n".join(parts))


def _measured(view: RunView, name: str) -> Iterator[str]:
    history = view.history
    found = [history.divergences.get(name, {})[tokens] for tokens in sorted(history.divergences.get(name, {}))]
    found += [m for m in (history.selections.get(name),) if m]
    found += [history.finals[name].measurement] if name in history.finals else []
    if found:
        yield "\nMeasurements"
    for measurement in found:
        yield f"  {_value(measurement):<18} {_protocol(measurement)}"


def _value(measurement: Measurement) -> str:
    return f"{'KL' if measurement.kind == 'divergence' else 'perplexity'} {number(measurement.value)}"


def _protocol(m: Measurement) -> str:
    p = m.protocol
    return (
        f"{m.tokens:,} tokens of {p.text} ({p.text_sha256[:8]}), {p.read}, {p.form}, "
        f"{p.dtype} on {p.device}, sparsity {100 * m.sparsity:.2f} %, {m.seconds:.1f} s"
    )


def _rates(rates: tuple[float, ...]) -> Iterator[str]:
    if rates:
        yield "\nSparsity by block"
    for block, rate in enumerate(rates):
        yield f"  {block:>3} {100 * rate:5.1f} %  {'█' * round(_BAR * rate)}"


def candidate_screen(view: RunView, name: str) -> Reading:
    """The screen of one candidate; copying copies its formula."""
    recipe = view.history.candidates[name].recipe
    return Reading(f"{name}: {describe(recipe)}"[:90], candidate_text(view, name), copied=recipe.metric)
