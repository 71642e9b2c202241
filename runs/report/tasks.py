"""Tasks as a person reads them: a table, what can be concluded, and a plot; for a run and for `secateur evaluate`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from runs.fold.summary import Summary
from runs.report import plots
from tools.measure.tasks.scores import Comparison, TaskScores, compare
from tools.measure.tasks.words import conclusion, flips, gap, shown

Z = 1.96
"""Standard errors to either end of a 95 % interval."""


@dataclass(frozen=True)
class Line:
    """One model of a table."""

    name: str
    scores: TaskScores
    beside: Comparison | None = None
    """Against the table's base."""


@dataclass(frozen=True)
class TaskTable:
    """Models that answered the same samples; the base, if there is one, is what the others are compared with."""

    lines: tuple[Line, ...]
    base: Line | None
    subject: str
    """The line that conclusions are about."""

    @classmethod
    def of(cls, answered: Sequence[tuple[str, TaskScores]], base: str | None, subject: str) -> TaskTable:
        """
        Raises:
            SecateurError: they did not answer the same samples.
        """
        known = dict(answered)
        lines = tuple(
            Line(name, scores, None if base in (None, name) else compare(scores, known[str(base)]))
            for name, scores in answered
        )
        return cls(lines, next((line for line in lines if line.name == base), None), subject)

    @classmethod
    def of_run(cls, found: Summary) -> TaskTable | None:
        """The table of a run beside the dense model; the winner is called as in the run's other table."""
        if not found.answered:
            return None
        rows = {row.name: row for row in found.table}
        named = [(f"this run {n}" if rows[n].role == "result" else n, scores) for n, scores in found.answered]
        dense = next((n for n, _ in found.answered if rows[n].role == "dense"), None)
        return cls.of(named, dense, named[-1][0])

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks."""
        return tuple(self.lines[0].scores.tasks)

    @property
    def asked(self) -> str:
        """How, in words."""
        scores = self.lines[0].scores
        sizes = {score.samples for score in scores.tasks.values()}
        shots = {score.shots for score in scores.tasks.values()}
        many = f"{min(sizes):,}" if len(sizes) == 1 else f"{min(sizes):,} to {max(sizes):,}"
        given = f"{min(shots)} shots" if len(shots) == 1 else f"{min(shots)} to {max(shots)} shots"
        sure = "± standard error" + ("; differences with a paired 95 % bootstrap interval" if self.base else "")
        told = [scores.protocol.asked]
        told += [f"{of.name}: {of.scores.protocol.asked}" for of in self.lines if of.scores.protocol.asked != told[0]]
        return f"{many} samples of each task, {given}; {'; '.join(told)}; {sure}"

    @property
    def conclusion(self) -> str:
        """What can be said of the subject beside the base; empty where there is none."""
        line = next(line for line in self.lines if line.name == self.subject)
        if line.beside is None or self.base is None:
            return ""
        return conclusion(line.scores.tasks, line.beside, line.name, self.base.name)

    def rows(self) -> list[list[str]]:
        """Cells as text, the head first: task and model, score, difference to the base, flips. A task is named once."""
        beside = self.base is not None
        several = len(self.lines) > 1
        rows = [["", *(["model"] if several else []), "score", *(["difference", "flips"] if beside else [])]]
        for name in self.names:
            title = f"{name} ({self.lines[0].scores.tasks[name].metric})"
            for line in self.lines:
                score = line.scores.tasks[name]
                cells = [title, *([line.name] if several else []), shown(score)]
                if beside:
                    found = None if line.beside is None else line.beside.tasks[name]
                    cells += ["", ""] if found is None else [gap(score, found), flips(found)]
                rows.append(cells)
                title = ""
        if len(self.names) > 1 and all(line.scores.mean is not None for line in self.lines):
            rows += self._means(several, beside)
        return rows

    def _means(self, several: bool, beside: bool) -> Iterator[list[str]]:
        title = "mean"
        for line in self.lines:
            cells = [title, *([line.name] if several else []), f"{100 * (line.scores.mean or 0.0):.1f} %"]
            if beside:
                found = None if line.beside is None else line.beside.mean
                cells += ["" if found is None else gap(None, found), ""]
            yield cells
            title = ""

    @property
    def plot(self) -> Markup:
        """A dot with its interval for every task and line: differences where there is a base, else the scores."""
        groups: dict[str, list[plots.Dot]] = {}
        for name in self.names:
            dots = []
            for line in self.lines:
                score = line.scores.tasks[name]
                if line.beside is not None:
                    found = line.beside.tasks[name]
                    low, high = found.low, found.high
                    dots.append(plots.Dot(line.name, found.difference, low, high, gap(score, found)))
                elif self.base is None:
                    wide = None if score.stderr is None else Z * score.stderr
                    low, high = (None, None) if wide is None else (score.value - wide, score.value + wide)
                    dots.append(plots.Dot(line.name, score.value, low, high, shown(score)))
            if score.is_share and dots:
                groups[name] = dots
        title = "Accuracy by task" if self.base is None else f"Difference of accuracy to {self.base.name} by task"
        return plots.dots(groups, title, zero=self.base is not None)


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
