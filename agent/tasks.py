"""Tasks in a run: the resident model answers them in the form it has, and the journal tells what came out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.known import treatment_of
from runs.events import Note
from tools.io.errors import SecateurError
from tools.measure.tasks.evaluate import evaluate, price, resident
from tools.measure.tasks.process import Harness
from tools.measure.tasks.words import minutes

if TYPE_CHECKING:
    from agent.context import Context
    from agent.recorder import Recorder
    from tools.measure.tasks.plan import TaskPlan
    from tools.measure.tasks.scores import TaskScores
    from tools.model.checkpoint import Model
    from tools.recipe import Recipe


def check(context: Context) -> None:
    """Before anything is searched for: that the tasks exist, that the model can read them, and what they cost.

    Raises:
        SecateurError: they cannot be answered.
    """
    record, goal = context.recorder, context.goal
    plans = [plan for plan in (goal.table_tasks, goal.judging_tasks) if plan is not None]
    if not plans:
        return
    record.stage("tasks", ", ".join(plans[0].names))
    subject = resident(context.model)
    for plan in plans:
        with Harness(plan) as harness:
            if plan.part == "judge" and not harness.averaged:
                raise SecateurError(
                    "--judge tasks needs tasks whose scores have a mean: accuracies, such as commonsense"
                )
            found = price(harness, subject, cache=context.cache)
        who = "every finalist" if plan.part == "judge" else "every line of the table"
        record(Note(text=f"tasks: {found.samples:,} answers of {who}, {minutes(found.minutes)} each"))


class Desk:
    """Where models of a run answer: one lm-eval for each part of the tasks, begun when it is first needed."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._open: dict[str, Harness] = {}

    def answer(self, plan: TaskPlan, recipe: Recipe | None, make: Callable[[], Model]) -> TaskScores:
        """What a recipe's final form answers; `make` is called only if not all of it is known."""
        context = self._context
        subject = replace(resident(context.model), open=make)
        if recipe is not None:
            subject = replace(subject, treatment=json.dumps(treatment_of(context.bench, recipe)))
        harness = self._open.get(plan.part)
        if harness is None:
            harness = self._open[plan.part] = Harness(plan).__enter__()
        return evaluate(harness, subject, cache=context.cache, progress=_told(context.recorder))

    def close(self) -> None:
        """End every lm-eval that was begun."""
        while self._open:
            self._open.popitem()[1].__exit__(None, None, None)


def _told(record: Recorder) -> Callable[[str, int, int], None]:
    """Progress as events, a hundred at most."""
    last = -1

    def tell(task: str, done: int, total: int) -> None:
        nonlocal last
        if (share := 100 * done // total) != last:
            last = share
            record.progress(record.current)(done, total)

    return tell
