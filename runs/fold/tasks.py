"""The table of tasks: models that answered the same samples, and what can be concluded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tools.measure.tasks.scores import Comparison, TaskScores, compare
from tools.measure.tasks.words import conclusion, flips, gap, shown


@dataclass(frozen=True)
class TaskRow:
    """One model of a table of tasks."""

    name: str
    scores: TaskScores
    beside: Comparison | None = None
    """Against the table's base."""


@dataclass(frozen=True)
class TaskTable:
    """Models that answered the same samples; the base, if there is one, is what the others are compared with."""

    lines: tuple[TaskRow, ...]
    base: TaskRow | None
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
            TaskRow(name, scores, None if base in (None, name) else compare(scores, known[str(base)]))
            for name, scores in answered
        )
        return cls(lines, next((line for line in lines if line.name == base), None), subject)

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
