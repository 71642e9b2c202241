"""Sparsity of every block of a candidate beside a statistic of that block."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.widgets import OptionList, Static

from runs.events import SurveyDone
from runs.fold.words import number
from tools.recipe import Allocation, Recipe
from tui.app.panes.blocks import STATISTICS, Table, statistics
from tui.app.panes.pane import Pane
from tui.app.view import RunView
from tui.app.widgets.flow import flow

_SCROLLBAR = 2


class Heading(Static):
    """The names of the columns; a click on it asks for the next statistic."""

    class Clicked(Message):
        """The person clicked on the heading."""

    def on_click(self, event: Click) -> None:
        """Say `Clicked`; the pane hears it."""
        event.stop()
        self.post_message(self.Clicked())


class LayersPane(Pane):
    """What the allocation of a candidate gave each block, and what it may have gone by."""

    NAME = "Layers"
    DEFAULT_CSS = """
    LayersPane { padding: 0 1; }
    LayersPane #candidate { height: auto; max-height: 6; overflow-y: auto; }
    LayersPane Heading { height: 1; text-wrap: nowrap; text-style: underline; color: $text-muted; margin-top: 1; }
    LayersPane OptionList, LayersPane OptionList:focus { border: none; background: transparent; }
    LayersPane OptionList { height: 1fr; padding: 0; scrollbar-gutter: stable; text-wrap: nowrap; }
    LayersPane OptionList > .option-list--option { padding: 0; }
    LayersPane OptionList > .option-list--option-highlighted {
        background: $panel; color: $foreground; text-style: bold;
    }
    LayersPane OptionList:focus > .option-list--option-highlighted {
        background: $panel-lighten-2; color: $foreground; text-style: bold underline;
    }
    LayersPane #block { height: auto; max-height: 7; overflow-y: auto; color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("alt+s", "statistic", "Statistic", id="layers.statistic")]

    def __init__(self) -> None:
        super().__init__()
        self.candidate: str | None = None
        """Whom the pane shows; None is the one that leads."""
        self.statistic = STATISTICS[0]
        self._view: RunView | None = None
        self._drawn: object = None

    def compose(self) -> ComposeResult:
        """The candidate, a row for each block, and the block under the cursor in full."""
        yield Static(id="candidate", markup=False)
        yield Heading(markup=False)
        yield OptionList(markup=False)
        yield Static(id="block", markup=False)

    def show(self, view: RunView) -> None:
        """Drawn anew only where something differs."""
        self._view = view
        self._draw()

    def choose(self, candidate: str | None) -> None:
        """Show that candidate from now on; None goes back to the one that leads."""
        self.candidate = candidate
        self._draw()

    def on_resize(self) -> None:
        """Bars are as long as the pane is wide."""
        self._draw()

    @on(Heading.Clicked)
    def action_statistic(self) -> None:
        """Show the next statistic that the survey knows."""
        names = [] if self._survey is None else statistics(self._survey)
        if names:
            place = names.index(self.statistic) if self.statistic in names else -1
            self.statistic = names[(place + 1) % len(names)]
            self._draw()

    @on(OptionList.OptionHighlighted)
    def _describe(self) -> None:
        """Everything that is known of the block under the cursor."""
        block, survey = self.query_one(OptionList).highlighted, self._survey
        if block is not None and survey is not None:
            parts = [f"{name} {number(survey.units[name][block])}" for name in statistics(survey)]
            shares = [f"{name} {100 * share:.1f} %" for name, share in self._projections(block)]
            lines = [flow([f"block {block}", *parts], self.size.width)]
            lines += [flow(["measured zeros", *shares], self.size.width)] if shares else []
            self.query_one("#block", Static).update("\n".join(lines))

    @property
    def _survey(self) -> SurveyDone | None:
        return None if self._view is None else self._view.history.survey

    @property
    def _shown(self) -> str | None:
        """The candidate that is shown."""
        return self.candidate or (None if self._view is None else self._view.leader)

    def _projections(self, block: int) -> list[tuple[str, float]]:
        """Measured share of zeros of the block's projections, where the model was pruned for good."""
        finals = {} if self._view is None else self._view.history.finals
        known = [final for final in finals.values() if final.sparsities and self._shown in (None, final.name)]
        shares = known[-1].sparsities if known else {}
        return [(name.rsplit(".", 1)[-1], share) for name, share in shares.items() if _block(name) == block]

    def _draw(self) -> None:
        if self._view is None or not self.is_mounted:
            return
        view, name, survey = self._view, self._shown, self._survey
        rates = view.history.rates.get(name or "", ())
        width = self.size.width - _SCROLLBAR
        key = (view.run, name, self.statistic, width, rates, view.outcome(name or ""), survey, len(view.history.finals))
        if key == self._drawn:
            return
        self._drawn = key
        self.query_one("#candidate", Static).update(_header(view, name))
        self.query_one(Heading).display = survey is not None
        self.query_one(OptionList).display = survey is not None
        if survey is not None:
            self._draw_blocks(survey, rates, width)

    def _draw_blocks(self, survey: SurveyDone, rates: Sequence[float], width: int) -> None:
        names = statistics(survey)
        self.statistic = self.statistic if self.statistic in names or not names else names[0]
        table = Table(survey.blocks, rates, self.statistic, survey.units.get(self.statistic, ()), width)
        self.query_one(Heading).update(table.heading)
        blocks, rows = self.query_one(OptionList), [table.row(block) for block in range(survey.blocks)]
        if blocks.option_count != survey.blocks:
            blocks.set_options(rows)
            blocks.highlighted = 0 if rows else None
        else:
            for block, row in enumerate(rows):
                blocks.replace_option_prompt_at_index(block, row)
        self._describe()


def _header(view: RunView, name: str | None) -> Content:
    if view.history.survey is None:
        return Content("No statistics of the blocks yet: they come when the model was opened and surveyed.")
    candidate = view.history.candidates.get(name or "")
    if candidate is None:
        return Content("No candidate is measured yet: these are the statistics of the dense model.")
    lead = "  leads" if candidate.id == view.leader else ""
    lines = [_allocated(candidate.recipe), candidate.why]
    if candidate.id not in view.history.rates:
        lines.append(f"Rates of the blocks come with the first measurement: {view.outcome(candidate.id)}.")
    text = "\n".join(line for line in lines if line)
    return Content.assemble((candidate.id, "bold"), f"{lead}\n{text}")


def _allocated(recipe: Recipe) -> str:
    """The allocation in words."""
    if not recipe.pattern.allocates:
        return f"{recipe.pattern} prescribes the rate of every block: {100 * recipe.sparsity:.1f} %"
    allocation: Allocation = recipe.allocation
    meaning = "every block gives the same share" if allocation.uniform else "a higher value keeps more"
    if allocation.vector is not None:
        meaning = "the search chose each rate"
    return f"{allocation} allocation: {meaning}"


def _block(projection: str) -> int | None:
    """The number of the block that a projection is in."""
    found = re.search(r"\d+", projection)
    return None if found is None else int(found[0])
