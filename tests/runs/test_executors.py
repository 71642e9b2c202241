from __future__ import annotations

import math
from typing import Any

import pytest

from runs.candidate import Candidate
from runs.executors import Executor, Failed, Measured
from runs.executors.in_process import InProcess
from tools.errors import SecateurError
from tools.measurement import Measurement
from tools.recipe import Recipe


class Bench:
    """Answers with the sparsity as the divergence; some metrics fail."""

    def __init__(self, measurement: Measurement) -> None:
        self.measurement = measurement

    def divergence(self, recipe: Recipe, tokens: int) -> Measurement:
        if recipe.metric == "bad":
            raise SecateurError("metric bad: yields NaN")
        if recipe.metric == "crash":
            raise ZeroDivisionError
        value = math.nan if recipe.metric == "nan" else recipe.sparsity
        return self.measurement.model_copy(update={"value": value, "tokens": tokens})


def candidates(*metrics: str) -> list[Candidate]:
    return [
        Candidate(id=f"c-{number}", recipe=Recipe(metric=metric, sparsity=0.5), operator="seed")
        for number, metric in enumerate(metrics)
    ]


def test_every_candidate_has_one_outcome_in_order(story: Any) -> None:
    executor: Executor = InProcess(Bench(story.measurement(1.0)))
    outcomes = list(executor.measure(candidates("W", "bad", "nan", "W * X"), 2048))
    assert [outcome.candidate.id for outcome in outcomes] == ["c-0", "c-1", "c-2", "c-3"]
    assert [type(outcome) for outcome in outcomes] == [Measured, Failed, Failed, Measured]
    assert isinstance(outcomes[0], Measured)
    assert outcomes[0].measurement.tokens == 2048
    assert isinstance(outcomes[1], Failed)
    assert outcomes[1].reason == "metric bad: yields NaN"


def test_outcomes_come_one_by_one_and_bugs_are_not_outcomes(story: Any) -> None:
    stream = InProcess(Bench(story.measurement(1.0))).measure(candidates("W", "crash"), 8)
    assert isinstance(next(stream), Measured)
    with pytest.raises(ZeroDivisionError):
        next(stream)
