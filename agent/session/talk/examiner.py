"""Tasks in conversation: what they would cost is told first, then the result of the run answers them.

The work is done by `secateur evaluate` in a process of its own, so that the screen stays free and what is answered is
kept where the command line finds it, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent.session.talk.session import Session
from agent.session.talk.tools.subjects import called
from agent.session.talk.tools.tool import NoResult
from runs.fold.history import History
from runs.fold.summary import summary
from tools.measure.tasks.plan import task_names
from tools.measure.tasks.scores import TaskScores, compare
from tools.measure.tasks.words import conclusion, gap, minutes, shown

SAMPLES = 200
"""Of every task, where nobody says how many."""


class Examiner:
    """Asks one model, beside another where there is one."""

    def __init__(
        self, session: Session, tasks: Sequence[str], model: str, samples: int | None = None, *, every: bool = False
    ) -> None:
        """
        Args:
            model: as said; empty for the result of the run, or for the model that is talked about. every: all samples.

        Raises:
            UsageError: no task is named.
        """
        self._session = session
        self.names = task_names(",".join(tasks))
        self.samples = None if every else samples or SAMPLES
        self._run = session.run
        self._model = model or (session.model if session.run is None else "")

    def known(self, history: History) -> str:
        """What the run's own table says of its result on these tasks, where it holds them all; else nothing, nor where
        a model is named, which may be another than the result."""
        found = None if history.goal is None else summary(history)
        if found is None or found.winner is None or self._model:
            return ""
        scores = {row.role: dict(found.answered).get(row.name) for row in found.table}
        ours, theirs = scores.get("result"), scores.get("dense")
        if ours is None or theirs is None or not set(self.names) <= ours.tasks.keys():
            return ""
        ours, theirs = (self._of_these(of) for of in (ours, theirs))
        beside = compare(ours, theirs)
        lines = []
        for name, score in ours.tasks.items():
            told = [f"{shown(score)}, dense {shown(theirs.tasks[name])}", gap(score, beside.tasks[name])]
            lines.append(f"  {name} ({score.metric}, {score.samples} samples): {'; '.join(told)}")
        return "\n".join([*lines, conclusion(ours.tasks, beside, found.winner.name, "the dense model")])

    def _of_these(self, scores: TaskScores) -> TaskScores:
        return scores.model_copy(update={"tasks": {name: scores.tasks[name] for name in self.names}})

    @property
    def models(self) -> list[str]:
        """Who is asked: the model that was named, or the result of the run beside the model that it came from."""
        if self._model:
            return [self._model]
        if self._run is None or not self._run.model_folder.exists():
            raise NoResult("There is no pruned model yet, and none was named: say which model shall be asked")
        return [str(self._run.model_folder), self._run.goal.model]

    def plan(self) -> tuple[str, bool]:
        """What would be asked and what it costs; whether it costs anything."""
        prices = self._evaluate("--price")["price"]
        cost = sum(price["minutes"] for price in prices.values())
        free = not any(price["tokens"] for price in prices.values())
        many = "all samples" if self.samples is None else f"at most {self.samples} samples"
        who = " and ".join(called(self._session, name) for name in self.models)
        return f"Plan: {who} answer {many} of {', '.join(self.names)}: {minutes(cost)}.", not free

    def answer(self) -> str:
        """Have it answered; the table and what can be concluded, in words."""
        found = self._evaluate()
        beside = found.get("against")
        lines = []
        for name, of in found["tasks"].items():
            error = "" if of["stderr"] is None else f" ± {_short(of, of['stderr'])}"
            line = f"  {name} ({of['metric']}, {of['samples']} samples): {_short(of, of['value'])}{error}"
            if beside is not None:
                line += f", {self.models[1]} {_short(of, beside['tasks'][name]['value'])}"
            lines.append(line)
        return "\n".join([*lines, *([] if beside is None else [beside["conclusion"]])])

    def _evaluate(self, *more: str) -> Any:
        """What `secateur evaluate --json` prints; SecateurError where it failed."""
        model, *others = self.models
        command = ["evaluate", model, "--tasks", ",".join(self.names)]
        command += [part for other in others for part in ("--against", other)]
        command += [] if self.samples is None else ["--limit", str(self.samples)]
        data = self._session.settings.values.task_data
        command += [] if data is None else ["--task-data", data]
        return self._session.command(*command, *more, *self._session.machine)


def _short(of: dict[str, Any], value: float) -> str:
    share = of["metric"].startswith(("acc", "exact_match"))
    return f"{100 * value:.1f} %" if share else f"{value:.4g}"
