"""A run as plain text on stderr, from its events alone: live on a terminal, one line per finished thing elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from runs.events import Answered, CandidateMeasured, CandidateRejected, Event, Note, RunFailed, RunStarted, ToolUsed
from runs.fold.history import History
from runs.fold.stages import Step
from runs.fold.tally import standing
from runs.fold.words import shown
from runs.used import called, use_line
from tui.text.thought import LABEL as WORD
from tui.text.thought import folded

LABEL = 11
"""Width of the first column."""


class _Seconds(ProgressColumn):
    """Seconds that a stage took or has been running."""

    def render(self, task: Task) -> Text:
        seconds = task.fields.get("seconds")
        elapsed = task.elapsed or 0.0
        return Text(f"{elapsed if seconds is None else seconds:8.1f} s")


class Plain:
    """Prints a run while it works; a context manager, called with every event."""

    def __init__(self, stream: TextIO | None = None, *, terminal: bool | None = None) -> None:
        """`stream`: where to print, stderr by default; `terminal`: None asks the stream."""
        self._console = Console(
            file=stream, stderr=stream is None, force_terminal=terminal, highlight=False, markup=False, soft_wrap=True
        )
        self._history = History()
        self._task: TaskID | None = None
        self._title: str | None = None
        """Held back until something is finished: a model that cannot be opened is told of in one line, not in three."""
        self._bars: Bars | None = None
        if self._console.is_terminal:
            self._bars = Bars(
                TextColumn(f"  {{task.fields[name]:<{LABEL}}}", markup=False),
                TextColumn("{task.fields[text]}", markup=False, table_column=Column(ratio=1)),
                BarColumn(bar_width=18),
                _Seconds(),
                console=self._console,
                expand=True,
            )

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def recall(self, events: Iterable[Event]) -> None:
        """Take what happened before, without printing it: a resumed run knows its best."""
        for event in events:
            self._history.observe(event)

    def __call__(self, event: Event) -> None:
        """Show one event."""
        step = self._history.stages.step
        self._history.observe(event)
        if step is not None and step.seconds is not None and not isinstance(event, RunFailed):
            self._finish(step)
        match event:
            case RunStarted(run=run, goal=goal):
                self._title = f"{goal}   run {run}"
            case Note(text=text):
                self.line(f"  {'note':<{LABEL}} {text}")
            case ToolUsed(name=name, arguments=arguments, seconds=seconds):
                self.line(f"  {'designer':<{LABEL}} {use_line(called(name, arguments), seconds)}", style="dim")
            case Answered(call=call, thinking=thinking) if thinking:
                width = max(40, self._console.width) - LABEL - 3
                self.line(f"  {WORD:<{LABEL}} {folded(f'{call}   {thinking}', width)}", style="dim")
            case CandidateRejected(candidate_id=name, stage="measure", reason=reason):
                self.line(f"  {name:<{LABEL}} failed: {reason}")
            case CandidateMeasured(candidate_id=name, measurement=measurement) if self._bars is None:
                searching = measurement.kind == "divergence"
                what = standing(self._history) if searching else "perplexity on the selection text"
                self.line(f"  {name:<{LABEL}} {shown(measurement):<12} {what}")
            case _:
                pass
        self._refresh()

    def line(self, text: str, *, style: str | None = None) -> None:
        """Show a line above what is running."""
        self._show_title()
        self._console.print(text, style=style)

    def _show_title(self) -> None:
        if self._title is not None:
            self._console.print(self._title)
            self._title = None

    def _finish(self, step: Step) -> None:
        text = standing(self._history) if step.name == "search" else step.text
        if self._bars is None:
            self.line(f"  {step.name:<{LABEL}} {text:<60} {step.seconds or 0.0:8.1f} s")
        elif self._task is not None:
            total = step.total or 1
            self._bars.update(self._task, text=text, total=total, completed=total, seconds=step.seconds)
            self._bars.stop_task(self._task)
            self._task = None

    def _refresh(self) -> None:
        """Bring the live line of the running stage up to date."""
        step, ledger = self._history.stages.step, self._history.ledger
        if self._bars is None or step is None:
            return
        self._show_title()
        text, done, total = step.text, step.done, step.total
        if step.name == "search":
            text, done, total = standing(self._history), len(ledger.charged), ledger.budget.candidates or step.total
        if self._task is None:
            self._task = self._bars.add_task("", total=total, name=step.name, text=text, seconds=None)
        self._bars.update(self._task, text=text, completed=done, total=total)
