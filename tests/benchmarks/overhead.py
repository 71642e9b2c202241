"""What of a search is neither forward passes nor masks: preparing, probing, screening, designing, writing down.

    python -m tests.benchmarks.overhead [MODEL] [CANDIDATES]

Counted from the first candidate's design to the choice of finalists, on one thread. Run it on a quiet machine.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from agent.engine import work
from runs.events import Event, Stage
from runs.goal import Budget, Evaluation, Goal, Size
from runs.run import create
from tools.prune import bench
from tools.prune.way import way_of
from tools.recipe import Calibration, Structured, Unstructured

EVALUATION = Evaluation(
    search=Size(windows=4, length=256), selection=Size(windows=2, length=256), test=Size(windows=2, length=256)
)


class Searched(Exception):
    """The search is over; what follows is not looked at."""


class Watch:
    """Seconds inside of the functions that are watched, and of the whole search."""

    def __init__(self) -> None:
        self.inside = 0.0
        self.began: float | None = None
        self.whole = self.spent = 0.0

    def watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **named)
            finally:
                self.inside += time.perf_counter() - start

        return timed

    def listen(self, event: Event) -> None:
        if isinstance(event, Stage) and event.name == "search" and self.began is None:
            self.began, self.inside = time.perf_counter(), 0.0
        if isinstance(event, Stage) and event.name == "finalists" and self.began is not None:
            self.whole, self.spent = time.perf_counter() - self.began, self.inside
            raise Searched


def measure(model: str, pattern: Unstructured | Structured, candidates: int) -> tuple[float, float]:
    """Seconds of the search, and of it what is neither forward passes nor masks."""
    watch, kind = Watch(), type(way_of(pattern))
    kept = bench.divergence, bench.remember_dense, kind.search_form  # type: ignore[attr-defined]
    bench.divergence, bench.remember_dense = watch.watched(kept[0]), watch.watched(kept[1])
    kind.search_form = watch.watched(kept[2])  # type: ignore[attr-defined]
    try:
        with tempfile.TemporaryDirectory() as home:
            goal = Goal(
                model=model,
                sparsity=0.5,
                pattern=pattern,
                calibration=Calibration(windows=4, length=256),
                evaluation=EVALUATION,
                budget=Budget(candidates=candidates),
                recall=False,
            )
            with contextlib.suppress(Searched):
                work(create(Path(home), goal), listen=watch.listen)
    finally:
        bench.divergence, bench.remember_dense, kind.search_form = kept  # type: ignore[attr-defined]
    return watch.whole, watch.whole - watch.spent


def main() -> None:
    """Print a line for every pattern."""
    torch.set_num_threads(1)
    model = sys.argv[1] if len(sys.argv) > 1 else "tiny"
    candidates = int(sys.argv[2]) if len(sys.argv) > 2 else 24
    for pattern in (Unstructured(), Structured(kind="width+depth")):
        whole, rest = measure(model, pattern, candidates)
        share = 100 * rest / whole
        print(f"{model} {pattern}: {whole:.1f} s, beside passes and masks {rest:.2f} s ({share:.0f} %)")


if __name__ == "__main__":
    main()
