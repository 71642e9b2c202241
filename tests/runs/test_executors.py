from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from runs.candidate import Candidate
from runs.goal import Size, Workers
from runs.workers import Executor, Failed, Measured
from runs.workers.in_process import InProcess
from runs.workers.open import check, shared_out
from runs.workers.worker import Blueprint
from tools.io.errors import SecateurError, UsageError
from tools.recipe import Calibration, Recipe
from tools.recipe.measurement import Measurement


class Gauge:
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
    executor: Executor = InProcess(Gauge(story.measurement(1.0)))
    outcomes = list(executor.measure(candidates("W", "bad", "nan", "W * X"), 2048))
    assert [outcome.candidate.id for outcome in outcomes] == ["c-0", "c-1", "c-2", "c-3"]
    assert [type(outcome) for outcome in outcomes] == [Measured, Failed, Failed, Measured]
    assert isinstance(outcomes[0], Measured)
    assert outcomes[0].measurement.tokens == 2048
    assert isinstance(outcomes[1], Failed)
    assert outcomes[1].reason == "metric bad: yields NaN"


def test_outcomes_come_one_by_one_and_bugs_are_not_outcomes(story: Any) -> None:
    stream = InProcess(Gauge(story.measurement(1.0))).measure(candidates("W", "crash"), 8)
    assert isinstance(next(stream), Measured)
    with pytest.raises(ZeroDivisionError):
        next(stream)


@pytest.fixture
def blueprint(tmp_path: Path) -> Blueprint:
    return Blueprint(
        model="tiny",
        fingerprint="f00d",
        texts={"calibration": "f00d", "search": "f00d"},
        dtype=None,
        device="cpu",
        cache=tmp_path,
        calibration=Calibration(windows=1, length=16),
        search=Size(windows=1, length=16),
        needs=frozenset(),
        threads=8,
    )


def test_devices_and_threads_are_shared_out_among_processes(blueprint: Blueprint) -> None:
    shares = shared_out(blueprint, ["cuda:0", "cuda:1"], 3)
    assert [(share.device, share.threads) for share in shares] == [("cuda:0", 2), ("cuda:1", 2), ("cuda:0", 2)]
    assert [share.threads for share in shared_out(blueprint, ["cpu"], 20)] == [1] * 20


def test_a_model_that_is_another_one_on_the_worker_is_refused(blueprint: Blueprint) -> None:
    here = blueprint.model_copy(update={"threads": torch.get_num_threads()})
    with pytest.raises(SecateurError, match=r"^tiny on host .* has fingerprint \w{16}, not f00d\. Copy it anew\.$"):
        here.build()


def test_a_text_that_is_another_one_on_the_worker_is_refused(blueprint: Blueprint) -> None:
    from tools.model.checkpoint import fingerprint, locate

    known = fingerprint(locate("tiny", blueprint.cache))
    here = blueprint.model_copy(update={"threads": torch.get_num_threads(), "fingerprint": known})
    with pytest.raises(SecateurError, match=r"^builtin on host .* has other calibration tokens than the engine's\."):
        here.build()


def test_ray_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runs.workers.open.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"^--executor ray://head needs Ray: pip install 'secateur\[ray\]'$"):
        check(Workers(executor="ray://head"))
    check(Workers(executor="processes"))
