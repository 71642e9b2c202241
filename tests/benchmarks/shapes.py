"""Which shapes cost a model least? Run by hand, part by part: python -m tests.benchmarks.shapes MODEL --home DIR

MODEL is made smaller by 20, 30 and 50 % of its blocks' weights: by Wanda-sp, FLAP and ShortGPT, and by searches over
width and depth with the same number of measurements and three seeds each: random, a conventional evolutionary
algorithm, genetic programming (builtin), and an LLM where one is named. Every part is a run in DIR; finished parts are
not done again. At the end stands a table in Markdown of test perplexities; the numbers are what they are.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path

from runs.goal import Budget, Evaluation, Goal, Size
from tests.benchmarks.designers import results, work_through
from tools.recipe import Calibration, Pattern, parse_pattern
from tools.recipe.methods import RECIPES

METHODS = ("wanda_sp", "flap", "shortgpt")
DESIGNERS = ("random", "evolution", "builtin")


def parts(chosen: argparse.Namespace) -> Iterator[tuple[str, float, Goal]]:
    """Every part: published methods first, then the searches, seeds in the outer loop."""
    search = Size(windows=chosen.search_windows)

    def goal(target: float, pattern: Pattern, **more: object) -> Goal:
        fields: dict[str, object] = {
            "model": chosen.model,
            "sparsity": target,
            "pattern": pattern,
            "calibration": Calibration(source=chosen.calibration, windows=chosen.windows),
            "test_text": chosen.text,
            "evaluation": Evaluation(search=search, selection=search, test=Size(), finalists=chosen.finalists),
            "recall": False,  # or later parts would begin with what earlier ones found
            "dtype": chosen.dtype,
            "device": chosen.device,
        }
        return Goal.of(**(fields | more))

    for target in chosen.targets:
        for name in METHODS:
            yield name, target, goal(target, RECIPES[name].pattern, method=name)
    designers = [*DESIGNERS, *([chosen.llm] if chosen.llm else [])]
    for seed in range(chosen.seeds):
        for target in chosen.targets:
            for name in designers:
                budget = Budget(candidates=chosen.candidates)
                yield name, target, goal(target, parse_pattern(chosen.pattern), designer=name, seed=seed, budget=budget)


def table(home: Path, chosen: argparse.Namespace) -> str:
    """Markdown: a row per way, a column per target; mean and spread over the seeds, and what really fell."""
    found: dict[tuple[str, float], list[tuple[float, float]]] = {}
    for name, target, _, winner in results(home, parts(chosen)):
        found.setdefault((name, target), []).append((winner.perplexity, winner.sparsity))
    lines = [
        "| | " + " | ".join(f"{100 * t:g} %" for t in chosen.targets) + " |",
        "|---" * (len(chosen.targets) + 1) + "|",
    ]
    for name in dict.fromkeys(name for name, _ in found):
        cells = []
        for target in chosen.targets:
            got = found.get((name, target), [])
            values = [value for value, _ in got]
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            fell = f" ({100 * statistics.fmean(share for _, share in got):.1f} %)" if got else ""
            cells.append(f"{statistics.fmean(values):.1f}{spread}{fell}" if values else "-")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare ways to make a model smaller.")
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--llm", help="for example openai:NAME with OPENAI_BASE_URL set")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--targets", type=float, nargs="+", default=[0.2, 0.3, 0.5])
    parser.add_argument("--pattern", default="width+depth")
    parser.add_argument("--candidates", type=int, default=16)
    parser.add_argument("--finalists", type=int, default=2)
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--search-windows", type=int, default=4)
    parser.add_argument("--calibration", default="builtin")
    parser.add_argument("--text", default="builtin")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--table", action="store_true", help="only print the table of what is finished")
    chosen = parser.parse_args()
    if not chosen.table:
        work_through(chosen.home, parts(chosen))
    print(table(chosen.home, chosen))


if __name__ == "__main__":
    main()
