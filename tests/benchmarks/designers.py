"""Which designer finds the best recipe with the same number of measurements? Run by hand, for hours, part by part:

    python tests/benchmarks/designers.py MODEL --home DIR --llm openai:NAME [--seeds 3] [--candidates 16]

Random search, genetic programming, an LLM with a plain history and an LLM with the graph of thoughts prune MODEL to
each target with each seed. Every part is a run in DIR; those that are finished are not done again, those that were
broken off go on. At the end stands a table in Markdown: test perplexity (best, mean and spread over the seeds), tokens
and the median of the seconds. The numbers are what they are.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.engine import work
from runs.fold.summary import Row, Summary, summary
from runs.goal import Budget, Evaluation, Goal, Size
from runs.run import Run, Status, create, list_runs
from tools.recipe import Calibration


@dataclass(frozen=True)
class Way:
    """One column of the study."""

    name: str
    designer: str
    prompting: str = "gcot"


def ways(llm: str | None) -> list[Way]:
    found = [Way("random search", "random"), Way("genetic programming (builtin)", "builtin")]
    if llm is not None:
        found += [Way(f"{llm}, plain history", llm, "history"), Way(f"{llm}, graph of thoughts", llm)]
    return found


def parts(chosen: argparse.Namespace) -> Iterator[tuple[str, float, Goal]]:
    """Every part of the study, seeds in the outer loop, so that a study broken off early has all columns."""
    search = Size(windows=chosen.search_windows)
    for seed in range(chosen.seeds):
        for target in chosen.targets:
            for way in ways(chosen.llm):
                yield (
                    way.name,
                    target,
                    Goal(
                        model=chosen.model,
                        sparsity=target,
                        calibration=Calibration(source=chosen.calibration, windows=chosen.windows),
                        test_text=chosen.text,
                        evaluation=Evaluation(search=search, selection=search, test=Size(), finalists=1),
                        designer=way.designer,
                        prompting=way.prompting,
                        recall=False,  # or later parts would begin with what earlier ones found
                        compensation_allowed=chosen.compensation,
                        budget=Budget(candidates=chosen.candidates),
                        seed=seed,
                        dtype=chosen.dtype,
                        device=chosen.device,
                    ),
                )


def begun(home: Path, goal: Goal) -> Run | None:
    """The part's run, where there is one."""
    return next((run for run in list_runs(home) if run.goal == goal), None)


def work_through(home: Path, planned: Iterable[tuple[str, float, Goal]]) -> None:
    """Do what is not finished."""
    for name, target, goal in planned:
        run = begun(home, goal) or create(home, goal)
        print(f"{100 * target:g} %, seed {goal.seed}, {name}: run {run.id}", flush=True)
        if run.status() is not Status.FINISHED:
            work(run)


def results(home: Path, planned: Iterable[tuple[str, float, Goal]]) -> Iterator[tuple[str, float, Summary, Row]]:
    """Name, target, summary and winner of every part that is finished."""
    for name, target, goal in planned:
        run = begun(home, goal)
        if run is not None and run.status() is Status.FINISHED:
            found = summary(run.history())
            assert found.winner is not None
            yield name, target, found, found.winner


def table(home: Path, chosen: argparse.Namespace) -> str:
    """Markdown over all finished parts."""
    rows: dict[tuple[float, str], list[tuple[float, int, float]]] = {}
    references: dict[float, dict[str, float]] = {}
    for name, target, found, winner in results(home, parts(chosen)):
        spent = found.spent
        rows.setdefault((target, name), []).append((winner.perplexity, spent.tokens, 60 * spent.minutes))
        references[target] = {row.name: row.perplexity for row in found.table if row.role != "result"}
    lines = ["| target | designer | seeds | best | mean | spread | tokens | seconds |"]
    lines.append("|---|---|--:|--:|--:|--:|--:|--:|")
    means = {key: statistics.fmean(value for value, *_ in results) for key, results in rows.items()}
    for target, name in sorted(rows, key=lambda key: (key[0], means[key])):
        values, tokens, seconds = zip(*rows[target, name], strict=True)
        spread = f"{statistics.stdev(values):.2f}" if len(values) > 1 else "-"
        lines.append(
            f"| {100 * target:g} % | {name} | {len(values)} | {min(values):.2f} | {means[target, name]:.2f} "
            f"| {spread} | {statistics.fmean(tokens):,.0f} | {statistics.median(seconds):,.0f} |"
        )
    for target, known in sorted(references.items()):
        lines.append(f"\n{100 * target:g} %: " + ", ".join(f"{name} {value:.2f}" for name, value in known.items()))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare designers with the same number of measurements.")
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--llm", help="for example openai:NAME with OPENAI_BASE_URL set, or local:PATH")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--targets", type=float, nargs="+", default=[0.5, 0.7])
    parser.add_argument("--candidates", type=int, default=16)
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--search-windows", type=int, default=8)
    parser.add_argument("--calibration", default="builtin")
    parser.add_argument("--text", default="builtin")
    parser.add_argument("--no-compensation", dest="compensation", action="store_false")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--table", action="store_true", help="only print the table of what is finished")
    chosen = parser.parse_args()
    if not chosen.table:
        work_through(chosen.home, parts(chosen))
    print(table(chosen.home, chosen))


if __name__ == "__main__":
    main()
