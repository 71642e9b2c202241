"""Candidates per minute of one Ray worker and of two, one thread each. Run by hand on a machine with two idle cores:
python tests/benchmarks/workers.py [MODEL]

Aim: two workers measure at least 1.6 times as many. What is timed starts when every worker has measured one recipe with
SparseGPT's update, whose factors it then holds, and ends when the last candidate is done; starting workers is paid once
a run and is printed apart. Half of the candidates are with the update and half are without, about as in a search.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, here and in what Ray starts

from platformdirs import user_data_path

from runs.candidate import Candidate
from runs.goal import Size, Workers
from runs.workers import Measured
from runs.workers.pool import Crew
from runs.workers.ray import Ray
from runs.workers.results import Result, Results
from runs.workers.worker import Blueprint
from tools.model.checkpoint import fingerprint, locate
from tools.recipe import Calibration, Compensation, Recipe

AIM = 1.6


def candidates(start: int, count: int) -> list[Candidate]:
    """Candidates `c-start` and so on, no two of which are one recipe."""
    return [
        Candidate(
            id=f"c-{n}",
            recipe=Recipe(
                sparsity=0.5,
                metric=f"W * X**{1 + n / 1000}",
                compensation=Compensation(kind="obs" if n % 2 else "none"),
            ),
            operator="benchmark",
        )
        for n in range(start, start + count)
    ]


def per_minute(blueprint: Blueprint, workers: int, count: int, tokens: int) -> float:
    """Candidates per minute that so many workers measure together."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        backend = Ray(Workers(executor="ray", count=workers), cpus=1, gpus=0)
        crew = Crew(backend, [blueprint] * workers, Results(Path(folder)))
        try:
            _warm_up(crew, Path(folder), workers, tokens)
            opened = time.perf_counter()
            _measure(crew, candidates(0, count), tokens)
            taken = time.perf_counter() - opened
        finally:
            crew.close()
    rate = 60 * count / taken
    print(f"  {workers} worker{'s' * (workers > 1)} {rate:10.2f} candidates per minute", end="")
    print(f"   ({count} in {taken:.1f} s; started and warm after {opened - start:.1f} s)")
    return rate


def _warm_up(crew: Crew, results: Path, workers: int, tokens: int) -> None:
    """Measure with OBS until every worker has done so: one that is ready late must not be late for what is timed."""
    number = 1001
    while len({Result.model_validate_json(file.read_bytes()).pid for file in results.glob("*.json")}) < workers:
        _measure(crew, [c for n in range(workers) for c in candidates(number + 2 * n, 1)], tokens)
        number += 2 * workers


def _measure(crew: Crew, wanted: list[Candidate], tokens: int) -> None:
    for outcome in crew.measure(wanted, tokens):
        if not isinstance(outcome, Measured):
            raise SystemExit(f"{outcome.candidate.recipe}: {outcome.reason}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Candidates per minute of one and of two Ray workers.")
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--candidates", type=int, default=16)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--length", type=int, default=512)
    chosen = parser.parse_args()
    cache = user_data_path("secateur") / "cache"
    size = Size(windows=chosen.windows, length=chosen.length)
    blueprint = Blueprint(
        model=chosen.model,
        fingerprint=fingerprint(locate(chosen.model, cache)),
        texts={},
        dtype=None,
        device="cpu",
        cache=cache,
        calibration=Calibration(windows=chosen.windows, length=chosen.length),
        search=size,
        needs=frozenset({"gram"}),
        threads=1,
    )
    # A bench that is built once leaves its statistics on disk: otherwise the first workers would take them together.
    blueprint.build()
    print(f"{chosen.model}, {size.tokens} tokens, one thread a worker")
    one, two = (per_minute(blueprint, workers, chosen.candidates, size.tokens) for workers in (1, 2))
    print(f"two workers measure {two / one:.2f} times as many candidates per minute as one (aim: at least {AIM})")


if __name__ == "__main__":
    main()
