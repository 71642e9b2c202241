"""Tasks in a report: a plot, and the scores as JSON."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from runs.fold.tasks import TaskTable
from runs.report import plots
from tools.measure.tasks.scores import Comparison, TaskScores
from tools.measure.tasks.words import conclusion, gap, shown

Z = 1.96
"""Standard errors to either end of a 95 % interval."""


def plot(table: TaskTable) -> Markup:
    """A dot with its interval for every task and line: differences where there is a base, else the scores."""
    groups: dict[str, list[plots.Dot]] = {}
    for name in table.names:
        dots = []
        for line in table.lines:
            score = line.scores.tasks[name]
            if line.beside is not None:
                found = line.beside.tasks[name]
                low, high = found.low, found.high
                dots.append(plots.Dot(line.name, found.difference, low, high, gap(score, found)))
            elif table.base is None:
                wide = None if score.stderr is None else Z * score.stderr
                low, high = (None, None) if wide is None else (score.value - wide, score.value + wide)
                dots.append(plots.Dot(line.name, score.value, low, high, shown(score)))
        if score.is_share and dots:
            groups[name] = dots
    title = "Accuracy by task" if table.base is None else f"Difference of accuracy to {table.base.name} by task"
    return plots.dots(groups, title, zero=table.base is not None)


def as_json(model: str, ours: TaskScores, against: tuple[str, TaskScores, Comparison] | None) -> dict[str, Any]:
    """What `secateur evaluate --tasks --json` prints."""
    found: dict[str, Any] = {
        "model": model,
        "protocol": ours.protocol.model_dump(mode="json"),
        "tasks": {
            name: {
                "metric": score.metric,
                "value": score.value,
                "stderr": score.stderr,
                "samples": score.samples,
                "shots": score.shots,
                "version": score.version,
            }
            for name, score in ours.tasks.items()
        },
        "mean": ours.mean,
        "seconds": round(ours.seconds, 3),
    }
    if against is not None:
        name, theirs, beside = against
        found["against"] = {
            "model": name,
            "protocol": theirs.protocol.model_dump(mode="json"),
            "tasks": {task: difference.model_dump(mode="json") for task, difference in beside.tasks.items()},
            "mean": None if beside.mean is None else beside.mean.model_dump(mode="json", exclude={"flips"}),
            "conclusion": conclusion(ours.tasks, beside, model, name),
        }
    return found
