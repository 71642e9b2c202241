"""Workers in processes and in Ray actors: all are measured, once, whoever dies."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runs.candidate import Candidate
from runs.goal import Workers
from runs.workers import Failed, Measured
from runs.workers.pool import TRIES, Crew
from runs.workers.processes import Processes
from runs.workers.ray import Ray, fitting, needs
from runs.workers.results import Result, Results
from tests.runs.benches import Scripted
from tools.io.errors import SecateurError
from tools.recipe import Recipe

BACKENDS = {
    "processes": Processes,
    "ray": lambda: Ray(Workers(executor="ray", count=2), cpus=1, gpus=0),
}


@pytest.fixture
def bench(story: Any, tmp_path: Path) -> Scripted:
    return Scripted(measurement=story.measurement(1.0), log=tmp_path / "log", results=tmp_path / "results")


@contextmanager
def crew(bench: Scripted, backend: Callable[[], Any] = Processes, workers: int = 2) -> Iterator[Crew]:
    made = Crew(backend(), [bench] * workers, Results(bench.results))
    try:
        yield made
    finally:
        made.close()


def candidates(*metrics: str) -> list[Candidate]:
    return [
        Candidate(id=f"c-{number}", recipe=Recipe(metric=metric, sparsity=0.5), operator="seed")
        for number, metric in enumerate(metrics)
    ]


def written(bench: Scripted) -> list[Result]:
    return [Result.model_validate_json(file.read_bytes()) for file in bench.results.glob("*.json")]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_worker_that_dies_is_replaced_and_nothing_is_measured_twice(backend: str, bench: Scripted) -> None:
    healthy = [f"W * {n}" for n in range(12)]
    wanted = candidates(*healthy[:3], "bad", "die once", "nan", *healthy[3:])
    with crew(bench, BACKENDS[backend], workers=1) as executor:  # with two, the other may be done before it starts
        outcomes = {outcome.candidate.recipe.metric: outcome for outcome in executor.measure(wanted, 2048)}
        assert {metric for metric, outcome in outcomes.items() if isinstance(outcome, Failed)} == {"bad", "nan"}
        assert len(outcomes) == len(wanted)
        assert Counter(bench.begun()) == Counter([c.recipe.metric for c in wanted] + ["die once"])
        pids = {result.pid for result in written(bench)}
        assert len(pids) == 2, "the worker, and the one that took the place of the dead"
    assert len(written(bench)) == len(healthy) + 1
    deadline = time.monotonic() + 60
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, pids))


def test_a_candidate_that_kills_whoever_measures_it_is_given_up(bench: Scripted) -> None:
    with crew(bench, workers=1) as executor:
        outcomes = list(executor.measure(candidates("die", "W"), 8))
    assert [type(outcome) for outcome in outcomes] == [Failed, Measured]
    assert isinstance(outcomes[0], Failed)
    assert outcomes[0].reason == "3 workers died while they measured it: out of memory, or killed"
    assert Counter(bench.begun()) == {"die": TRIES, "W": 1}


def test_what_is_on_the_disk_is_never_measured_again(bench: Scripted) -> None:
    with crew(bench, workers=1) as executor:
        first = list(executor.measure(candidates("write and die", "W"), 8))
    with crew(bench, workers=1) as executor:
        second = list(executor.measure(candidates("write and die", "W"), 8))
    assert first == second
    assert all(isinstance(outcome, Measured) for outcome in first)
    assert bench.begun() == ["write and die", "W"]


def test_leaving_early_ends_what_is_being_measured(bench: Scripted) -> None:
    with crew(bench.model_copy(update={"seconds": 0.3}), workers=1) as executor:
        outcomes = executor.measure(candidates(*"ABC"), 8)
        assert next(outcomes).candidate.id == "c-0"
        outcomes.close()
        rest = [outcome.candidate.id for outcome in executor.measure(candidates(*"ABC"), 8)]
    assert rest == ["c-0", "c-1", "c-2"]
    assert bench.begun().count("A") == 1


@pytest.mark.parametrize(
    ("opening", "complaint"),
    [("bad", "^metric bad: yields NaN$"), ("die", "^3 workers in a row died while they opened the model")],
)
def test_a_model_that_no_worker_can_open_is_one_line(bench: Scripted, opening: str, complaint: str) -> None:
    with (
        crew(bench.model_copy(update={"opening": opening}), workers=1) as executor,
        pytest.raises(SecateurError, match=complaint),
    ):
        next(executor.measure(candidates("W"), 8))


def test_a_bug_in_a_worker_is_raised(bench: Scripted) -> None:
    with crew(bench, workers=1) as executor, pytest.raises(ZeroDivisionError, match="a bug"):
        next(executor.measure(candidates("crash"), 8))


def test_results_that_are_lost_or_damaged_are_measured_again(bench: Scripted, caplog: pytest.LogCaptureFixture) -> None:
    with crew(bench, workers=1) as executor:
        first = next(executor.measure(candidates("W"), 8))
        assert isinstance(first, Measured)
        [place] = Results(bench.results).place(Recipe(metric="W", sparsity=0.5), 8).files
        place.write_text(place.read_text().replace('"value":', '"value":1'))
        again = next(executor.measure(candidates("W"), 8))
        assert isinstance(again, Measured)
        assert again.measurement == first.measurement
        assert [record.getMessage() for record in caplog.records if record.name == "tools.io.shelf"] == [
            f"{place} was damaged (its checksum is wrong): it is set aside as {place.name}.damaged and made anew"
        ]
        shutil.rmtree(bench.results)
        assert isinstance(next(executor.measure(candidates("W"), 8)), Measured)
        assert len(written(bench)) == 1


def test_a_node_holds_as_many_workers_as_it_has_of_what_is_scarcest() -> None:
    resources = {"CPU": 32.0, "GPU": 4.0, "accelerator_type:A100": 1.0, "memory": 1e11}
    node = {"Alive": True, "Resources": resources}
    assert fitting(needs(1, 1.0, "A100"), node) == 4
    assert fitting(needs(1, 0.5, None), node) == 8
    assert fitting(needs(12, 0.0, None), node) == 2
    assert fitting(needs(1, 1.0, "H100"), node) == 0
    assert fitting(needs(1, 0.0, None), {"Alive": False, "Resources": {}}) == 0
