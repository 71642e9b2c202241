"""Tasks in a run: the resident model answers them in the form it has, and the journal tells what came out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.known import treatment_of
from runs.events import Note
from tools.io.errors import SecateurError, UsageError
from tools.measure.tasks.evaluate import evaluate, price, resident
from tools.measure.tasks.process import Harness
from tools.measure.tasks.scores import compare
from tools.measure.tasks.words import conclusion, flips, gap, minutes, shown

if TYPE_CHECKING:
    from pathlib import Path

    from agent.context import Context
    from agent.recorder import Recorder
    from agent.situation import Situation
    from runs.candidate import Candidate
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


def look(
    situation: Situation,
    cache: Path,
    candidate: Candidate,
    names: Sequence[str],
    *,
    samples: int,
    minutes_allowed: float,
) -> str:
    """What a candidate in its search form answers of the search part, beside the dense model; or only the price, where
    it is more than is allowed.

    Raises:
        UsageError: a task is none of the run's.
    """
    tasks, bench = situation.goal.tasks, situation.bench
    assert tasks is not None
    if strange := [name for name in names if name not in tasks.names]:
        raise UsageError(f"{strange[0]} is none of this run's tasks: {', '.join(tasks.names)}")
    plan = tasks.model_copy(update={"names": tuple(dict.fromkeys(names)), "limit": samples, "part": "search"})
    ours = replace(
        resident(bench.model),
        open=lambda: bench.search_form(candidate.recipe),
        treatment=json.dumps([*treatment_of(bench, candidate.recipe), "search form"]),
    )

    def restored() -> Model:
        bench.restore()
        return bench.model

    theirs = replace(resident(bench.model), open=restored)
    with Harness(plan) as harness:
        cost = sum(price(harness, subject, cache=cache).minutes for subject in (theirs, ours))
        if cost > minutes_allowed:
            return f"it would take {minutes(cost)}; ask again with as many minutes, or with fewer samples"
        dense_scores = evaluate(harness, theirs, cache=cache)
        scores = evaluate(harness, ours, cache=cache)
    found = compare(scores, dense_scores)
    lines = [f"{candidate.id} in its search form, and its difference to the dense model with a 95 % interval:"]
    for name, score in scores.tasks.items():
        difference = found.tasks[name]
        told = [shown(score), gap(score, difference), flips(difference)]
        lines.append(f"  {name} ({score.metric}, {score.samples} samples): {', '.join(filter(None, told))}")
    return "\n".join([*lines, conclusion(scores.tasks, found, candidate.id, "the dense model")])


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
