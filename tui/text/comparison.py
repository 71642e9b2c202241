"""The result of a run as text: the table a person compares by, and where things are."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from runs.fold.summary import summary
from runs.fold.words import number, percent
from runs.goal import Goal
from runs.report import Row, Summary
from runs.run import Run, list_runs
from tools.io.errors import SecateurError
from tui.text.tasks import table as task_table


def comparison(found: Summary, run: Run) -> str:
    """Table, verdict, model and report; before the end of a run only what it has come to."""
    lines = [*_table(found), f"  {found.verdict}", *_tasks(found)]
    if found.recipe is not None:
        lines.append(f"  {found.gain}")
        lines += [f"  {found.extent}"] if found.extent else []
    if found.output is not None:
        lines.append(f"  model   {found.output}       checked: {found.verified}")
    if run.report_html.exists():
        lines.append(f"  report  {run.report_html}")
    if run.reproduction_file.exists():
        lines.append(f"  again   secateur reproduce {shlex.quote(str(run.reproduction_file))}")
    return "\n".join(lines)


def side_by_side(summaries: Sequence[Summary]) -> str:
    """One line per run, in a table for each text: perplexities of different tokens do not stand in one column."""
    width = max(len(summary.run) for summary in summaries)
    tables: dict[str, list[Summary]] = {}
    for found in sorted(summaries, key=lambda found: found.protocol is None):
        text = next(iter(tables), "") if found.protocol is None else found.protocol.text_sha256
        tables.setdefault(text, []).append(found)
    head = f"  {'run':<{width}}  {'dense':>8}  {'result':>8}  {'sparsity':>8}  {'candidates':>10}  what was asked"
    lines = []
    for table in tables.values():
        first = table[0].protocol
        text = "" if first is None else f"   perplexity on {first.text}: {first.read}"
        lines += [head + text, *(_run_line(found, width) for found in table)]
    return "\n".join(lines)


def results(home: Path, run: Run) -> list[tuple[str, float, float]]:
    """Run, sparsity and perplexity of what other runs made of the same model, measured on the same text."""
    found = []
    for other in list_runs(home):
        if other.id == run.id:
            continue
        try:
            if not _alike(other.goal, run.goal):
                continue
            ours, theirs = (summary(of.history()) for of in (run, other))
        except SecateurError:
            continue  # the list of runs tells of damage
        same = None in (ours.protocol, theirs.protocol) or _read(ours) == _read(theirs)
        if same and theirs.winner is not None:
            found.append((other.id, theirs.winner.sparsity, theirs.winner.perplexity))
    return found


def _read(summary: Summary) -> tuple[str, str] | None:
    """The model and the tokens behind its perplexities: files and folders change under their names."""
    protocol = summary.protocol
    return None if protocol is None else (protocol.model, protocol.text_sha256)


def _alike(one: Goal, other: Goal) -> bool:
    wanted = (other.model, other.test_text, other.evaluation.test)
    return (one.model, one.test_text, one.evaluation.test) == wanted


def _table(summary: Summary) -> list[str]:
    if not summary.table or summary.protocol is None:
        return []
    protocol = summary.protocol
    names = [f"this run   {row.name}" if row.role == "result" else row.name for row in summary.table]
    width = max(20, *(len(name) for name in names))
    head = f"  {'':<{width}}  perplexity   sparsity   of model"
    text = f"  ({protocol.text}: {protocol.read}, {protocol.dtype})"
    rows = [_row(name, row, width) for name, row in zip(names, summary.table, strict=True)]
    return [head + text, *rows]


def _tasks(found: Summary) -> list[str]:
    return [] if found.tasks is None else ["", *task_table(found.tasks).splitlines(), ""]


def _row(name: str, row: Row, width: int) -> str:
    line = f"  {name:<{width}}  {number(row.perplexity):>10}  {percent(row.sparsity):>9}  {percent(row.of_model):>9}"
    return f"{line}     {row.description}".rstrip() if row.role == "result" else line


def _run_line(summary: Summary, width: int) -> str:
    dense, winner = summary.dense, summary.winner
    cells = [
        f"{'-' if dense is None else number(dense.perplexity):>8}",
        f"{'-' if winner is None else number(winner.perplexity):>8}",
        f"{percent(None if winner is None else winner.sparsity):>8}",
        f"{len(summary.trials):>10}",
    ]
    return f"  {summary.run:<{width}}  {'  '.join(cells)}  {summary.goal}"
