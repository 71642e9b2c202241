"""`secateur evaluate --tasks`: progress while models answer, and what comes out of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from agent.session import measures
from runs.fold.tasks import TaskTable
from runs.plain import plain
from runs.report.render import render_evaluation
from runs.report.tasks import as_json as task_facts
from tools.io.errors import UsageError
from tools.io.files import expanded, file_aside
from tools.measure.tasks import TaskPlan
from tui.cli.shell import as_json, be_interruptible, complain, print_json
from tui.text.tasks import price_lines, short_names, table

if TYPE_CHECKING:
    from agent.session.settings import Settings
    from tools.measure.tasks.evaluate import Progress

_SHARES = 10
"""Lines of progress where there is no terminal."""


def answer(
    models: Sequence[str], plan: TaskPlan, settings: Settings, output: Path | None, *, only_price: bool, json: bool
) -> None:
    """Have one model or two answer tasks, or say what that would cost."""
    be_interruptible()
    place = None if output is None else _output_place(output)
    if only_price:
        prices = measures.prices(models, plan, settings)
        facts: dict[str, Any] = {name: price.model_dump(mode="json") for name, price in prices}
        print_json({"price": facts}) if json else print(price_lines(prices))
        return
    try:
        answered = measures.answers(models, plan, settings, _shown)
    except KeyboardInterrupt:
        complain("interrupted: what is answered is kept, and the same command goes on from there")
        raise typer.Exit(130) from None
    (model, ours), *others = answered
    names = short_names(models)
    lines = [(name, scores) for name, (_, scores) in zip(names, answered, strict=True)]
    shown = TaskTable.of(lines, names[1] if others else None, names[0])
    beside = shown.lines[0].beside
    facts = task_facts(model, ours, None if beside is None else (*others[0], beside))
    if place is not None:
        _write(place, shown, facts)
    print_json(facts) if json else print(table(shown))


def _output_place(folder: Path) -> Path:
    """The folder that files are written into, made sure of before anything is answered.

    Raises:
        UsageError: it is a file.
    """
    place = expanded(folder).resolve()
    if place.exists() and not place.is_dir():
        raise UsageError(f"--output {folder} is a file: give a folder")
    return place


def _write(place: Path, found: TaskTable, facts: dict[str, Any]) -> None:
    """Write `evaluation.json`, `evaluation.md` and `evaluation.html` into a folder.

    Raises:
        SecateurError: they cannot be written.
    """
    place.mkdir(parents=True, exist_ok=True)
    texts = {"json": as_json(facts) + "\n", **{kind: render_evaluation(found, kind) for kind in ("md", "html")}}
    for kind, text in texts.items():
        with file_aside(place / f"evaluation.{kind}") as partial:
            partial.write_text(text, encoding="utf-8")


@contextmanager
def _shown(name: str) -> Iterator[Progress]:
    """Progress of one model on stderr: a bar on a terminal, a line for every tenth elsewhere."""
    name = plain(name)
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    if not console.is_terminal:
        yield _Lines(name, console)
        return
    columns = (
        TextColumn("  {task.fields[model]}  {task.description:<14}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %", markup=False),
        TextColumn("eta", markup=False),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task("", total=None, model=name)

        def show(what: str, done: int, total: int) -> None:
            bars.update(task, description=plain(what), completed=done, total=total)

        yield show


class _Lines:
    """A line for every tenth of the tokens, with the time that is left at the speed so far."""

    def __init__(self, name: str, console: Console) -> None:
        self._name, self._console = name, console
        self._start, self._first, self._told = time.monotonic(), -1, -1

    def __call__(self, task: str, done: int, total: int) -> None:
        if self._first < 0 or done < self._first:  # requests of another kind are counted from their own start
            self._start, self._first, self._told = time.monotonic(), done, _SHARES * done // total
        share = _SHARES * done // total
        if share == self._told or done == self._first:
            return
        self._told = share
        left = (time.monotonic() - self._start) * (total - done) / (done - self._first)
        eta = f"{int(left) // 60}:{int(left) % 60:02d}"
        self._console.print(f"  {self._name}  {plain(task):<14} {100 * done // total:3d} %   eta {eta}")
