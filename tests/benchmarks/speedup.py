"""Is a model as much faster as was asked? Run by hand: python -m tests.benchmarks.speedup MODEL --home DIR

MODEL is made 1.2, 1.4 and 2 times faster by whole blocks and by width, each as a run in DIR; at the end stands what was
asked beside what was measured of the saved model and the dense one in turn, on this machine as it is. Exit code 1 where
a result is slower than asked by more than a tenth.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from agent.engine import work
from runs.fold.summary import summary
from runs.goal import Goal
from runs.run import create
from tools.io.errors import SecateurError
from tools.recipe import Calibration, Request, Structured

METHODS = {"shortgpt": Structured(kind="depth"), "wanda_sp": Structured(kind="width")}
SLACK = 0.9


def measured(home: Path, model: str, name: str, target: float, request: Request) -> float:
    """How many times as fast the result is as the dense model."""
    pattern = METHODS[name].model_copy(update={"request": request})
    goal = Goal(model=model, sparsity=1 - 1 / target, pattern=pattern, method=name, calibration=Calibration(windows=4))
    run = create(home, goal)
    work(run)
    speed = summary(run.history()).speed
    assert speed is not None, "a goal with a request ends with a measured speed"
    return speed.speedup


def main() -> None:
    """Measure, print a table in Markdown, and fail where the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--targets", type=float, nargs="+", default=[1.2, 1.4, 2.0])
    parser.add_argument("--prompt", type=int, default=512)
    chosen = parser.parse_args()
    request, slow = Request(prompt=chosen.prompt), False
    print("| method | asked | measured |\n|---|---:|---:|")
    for name in METHODS:
        for target in chosen.targets:
            try:
                found = measured(chosen.home, chosen.model, name, target, request)
            except SecateurError as error:  # a small model spends its time where this method does not reach
                print(f"| {name} | {target:.2f} | {error} |", flush=True)
                continue
            slow = slow or found < SLACK * target
            print(f"| {name} | {target:.2f} | {found:.2f} |", flush=True)
    raise SystemExit(slow)


if __name__ == "__main__":
    main()
