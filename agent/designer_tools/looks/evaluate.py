"""`evaluate`: a candidate answers samples of the run's tasks, beside the dense model."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from agent.designer_tools.arguments import Arguments, CandidateName
from agent.designer_tools.step import Step
from agent.designer_tools.tool import Tool
from agent.known import treatment_of
from tools.io.errors import UsageError
from tools.measure.tasks.evaluate import evaluate, price, resident
from tools.measure.tasks.process import Harness
from tools.measure.tasks.scores import compare
from tools.measure.tasks.words import conclusion, flips, gap, minutes, shown

if TYPE_CHECKING:
    from runs.candidate import Candidate
    from tools.measure.tasks.evaluate import Subject
    from tools.measure.tasks.plan import TaskPlan
    from tools.measure.tasks.scores import TaskScores
    from tools.model.checkpoint import Model
    from tools.prune.bench import Bench


class Evaluate(Arguments):
    """Have a measured candidate and the dense model answer samples of the run's tasks. It takes minutes of the budget:
    with 0 minutes only the price is told, and nothing is done that takes longer than you allow."""

    candidate: CandidateName
    tasks: list[Annotated[str, Field(max_length=80)]] = Field(min_length=1, max_length=8)
    samples: int = Field(ge=1, le=500, description="Of every task.")
    minutes: float = Field(ge=0, le=600, description="What you allow; 0 asks for the price.")


def evaluate_candidate(step: Step, asked: Evaluate) -> str:
    """What a candidate in its search form answers of the search part, beside the dense model; or only the price, where
    it is more than is allowed.

    Raises:
        UsageError: the candidate is not measured, or a task is none of the run's.
    """
    candidate, bench, cache = step.candidate(asked.candidate), step.situation.bench, step.home / "cache"
    subjects = _dense(bench), _searched(bench, candidate)
    with Harness(_plan(step.situation.goal.tasks, asked)) as harness:
        cost = sum(price(harness, subject, cache=cache).minutes for subject in subjects)
        if cost > asked.minutes:
            return f"it would take {minutes(cost)}; ask again with as many minutes, or with fewer samples"
        dense, scores = (evaluate(harness, subject, cache=cache) for subject in subjects)
    return _told(candidate.id, scores, dense)


def _plan(tasks: TaskPlan | None, asked: Evaluate) -> TaskPlan:
    """What is asked, of the samples that a search may see."""
    assert tasks is not None  # else the tool is not offered
    if strange := [name for name in asked.tasks if name not in tasks.names]:
        raise UsageError(f"{strange[0]} is none of this run's tasks: {', '.join(tasks.names)}")
    names = tuple(dict.fromkeys(asked.tasks))
    return tasks.model_copy(update={"names": names, "limit": asked.samples, "part": "search"})


def _searched(bench: Bench, candidate: Candidate) -> Subject:
    """The resident model as the search sees a candidate."""
    treatment = json.dumps([*treatment_of(bench, candidate.recipe), "search form"])
    return replace(resident(bench.model), open=lambda: bench.search_form(candidate.recipe), treatment=treatment)


def _dense(bench: Bench) -> Subject:
    """The resident model as it was, whatever form it is in."""

    def restored() -> Model:
        bench.restore()
        return bench.model

    return replace(resident(bench.model), open=restored)


def _told(name: str, scores: TaskScores, dense: TaskScores) -> str:
    beside = compare(scores, dense)
    lines = [f"{name} in its search form, and its difference to the dense model with a 95 % interval:"]
    for task, score in scores.tasks.items():
        difference = beside.tasks[task]
        told = [shown(score), gap(score, difference), flips(difference)]
        lines.append(f"  {task} ({score.metric}, {score.samples} samples): {', '.join(filter(None, told))}")
    return "\n".join([*lines, conclusion(scores.tasks, beside, name, "the dense model")])


TOOL = Tool("evaluate", Evaluate, evaluate_candidate, fits=lambda goal: goal.looks_at_tasks)
