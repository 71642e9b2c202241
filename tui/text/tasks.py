"""What models answer to tasks, and what that would cost, as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runs.fold.tasks import TaskTable
from runs.plain import plain
from tools.measure.tasks import Price
from tools.measure.tasks.words import minutes


def short_names(models: Sequence[str]) -> list[str]:
    """What models are called in a table: the last part of a path, where that tells them apart."""
    short = [Path(name).name or name for name in models]
    apart = short if len(set(short)) == len(short) else list(models)
    return apart if len(set(apart)) == len(apart) else [f"{name} ({i})" for i, name in enumerate(apart, 1)]


def price_lines(prices: Sequence[tuple[str, Price]]) -> str:
    """What every model has left to answer and how long that takes, and all together."""
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
