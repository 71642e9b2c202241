"""`secateur evaluate --tasks`: what its options mean, its progress, and the table a person reads."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from runs.plain import plain
from tools.io.errors import UsageError
from tools.io.files import expanded, file_aside
from tools.measure.tasks import Harness, Price, TaskPlan, evaluate, price, subject_of
from tools.measure.tasks.words import minutes

if TYPE_CHECKING:
    from agent.session.settings import Settings
    from runs.report.tasks import TaskTable
    from tools.measure.tasks import TaskScores
    from tools.measure.tasks.evaluate import Progress

Answered = tuple[str, "TaskScores"]
_SHARES = 10
"""Lines of progress where there is no terminal."""


def answered(models: Sequence[str], plan: TaskPlan, found: Settings) -> list[Answered]:
    """Have the models answer, one after the other; each is opened only if something is left to be answered."""
    found.use_threads()
    device = found.device
    subjects = [subject_of(name, cache=found.cache, dtype=found.values.dtype, device=device) for name in models]
    with Harness(plan) as harness:
        scores = []
        for name, subject in zip(models, subjects, strict=True):
            with _shown(name) as progress:
                scores.append((name, evaluate(harness, subject, cache=found.cache, progress=progress)))
    return scores


def short_names(models: Sequence[str]) -> list[str]:
    """What models are called in a table: the last part of a path, where that tells them apart."""
    short = [Path(name).name or name for name in models]
    apart = short if len(set(short)) == len(short) else list(models)
    return apart if len(set(apart)) == len(apart) else [f"{name} ({i})" for i, name in enumerate(apart, 1)]


def priced(models: Sequence[str], plan: TaskPlan, found: Settings) -> list[tuple[str, Price]]:
    """What it would cost."""
    found.use_threads()
    device = found.device
    subjects = [subject_of(name, cache=found.cache, dtype=found.values.dtype, device=device) for name in models]
    with Harness(plan) as harness:
        return [(name, price(harness, of, cache=found.cache)) for name, of in zip(models, subjects, strict=True)]


def price_lines(prices: Sequence[tuple[str, Price]]) -> str:
    lines = [
        f"  {name}: {minutes(of.minutes)} ({of.samples:,} answers, {of.tokens:,} tokens left, "
        f"{of.tokens_per_second:,.0f} tokens/s)"
        if of.tokens
        else f"  {name}: nothing, all {of.samples:,} answers are known"
        for name, of in prices
    ]
    together = [f"  together {minutes(sum(of.minutes for _, of in prices))}"] if len(prices) > 1 else []
    return "\n".join([*lines, *together])


def table(found: TaskTable) -> str:
    """An aligned table, how it was measured, and what can be concluded."""
    rows = found.rows()
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
    said = [f"  {found.asked}", *([f"  {found.conclusion}"] if found.conclusion else [])]
    return plain("\n".join([*(line.rstrip() for line in lines), *said]))


def output_place(folder: Path) -> Path:
    """The folder that files are written into, made sure of before anything is answered.

    Raises:
        UsageError: it is a file.
    """
    place = expanded(folder).resolve()
    if place.exists() and not place.is_dir():
        raise UsageError(f"--output {folder} is a file: give a folder")
    return place


def write(place: Path, found: TaskTable, facts: dict[str, Any]) -> None:
    """Write `evaluation.json`, `evaluation.md` and `evaluation.html` into a folder.

    Raises:
        SecateurError: they cannot be written.
    """
    from runs.report.render import render_evaluation
    from tui.cli.edge import as_json

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
