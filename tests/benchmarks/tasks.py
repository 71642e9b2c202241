"""What answering tasks costs, beside bare forward passes of the same batches.

    python -m tests.benchmarks.tasks MODEL FOLDER [SAMPLES]

FOLDER holds piqa.jsonl, arc_easy.jsonl, ... as `--task-data` takes them. Both are timed in turn on the opened model,
after one round that warms up: what `secateur evaluate` does once lm-eval has the prompts (encoding, batches, answers
kept on disk), and `network(ids)` with all logits over the same padded batches.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from tools.measure.tasks import Harness, TaskPlan, evaluate, subject_of, task_names
from tools.measure.tasks.evaluate import Answering
from tools.measure.tasks.speaker import Speaker
from tools.model.checkpoint import open_model

ROUNDS = 2


def main() -> None:
    name, folder = sys.argv[1], sys.argv[2]
    samples = int(sys.argv[3]) if len(sys.argv) > 3 else 10
    plan = TaskPlan(names=task_names("piqa,hellaswag,arc_easy"), limit=samples, data=folder)
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(scratch)
        model = open_model(name, cache=cache)
        subject = subject_of(name, cache=cache, dtype=None, device="cpu")
        speaker = Speaker(model)
        with Harness(plan) as harness:
            first = Answering(subject, None)
            (kind, requests), *others = harness.requests(first).items()
            assert not others
            size = speaker.batch_tokens(max(speaker.tokens(kind, r) for of in requests.values() for r in of))
            batches = [
                padded(speaker, [of[i] for i in places])
                for of in requests.values()
                for places in speaker.batches(kind, of, size)
            ]
            ours, bare = [], []
            for number in range(ROUNDS + 1):
                answering = Answering(subject, cache / str(number), batch_tokens=size)
                answering._speaker = speaker
                start = time.perf_counter()
                answering.answer(kind, requests)
                ours.append(time.perf_counter() - start)
                start = time.perf_counter()
                with torch.inference_mode():
                    for ids in batches:
                        model.network(ids, use_cache=False)
                bare.append(time.perf_counter() - start)
            start = time.perf_counter()
            evaluate(harness, subject, cache=cache / "0", batch_tokens=size)
            scoring = time.perf_counter() - start
    tokens = sum(ids.numel() for ids in batches)
    ratios = [a / b for a, b in zip(ours[1:], bare[1:], strict=True)]
    print(f"{tokens:,} tokens in {len(batches)} batches of about {size}")
    print(
        f"answering {median(ours[1:]):.1f} s, bare forward passes {median(bare[1:]):.1f} s, medians of {ROUNDS} rounds"
    )
    print(f"ratio {median(ratios):.3f}, by round " + ", ".join(f"{ratio:.3f}" for ratio in ratios))
    print(f"lm-eval, with every answer known: {scoring:.1f} s")


def padded(speaker: Speaker, requests: list[list[str]]) -> torch.Tensor:
    """The ids of one batch as they go through the model: (rows, longest)."""
    rows = {tuple(a + b[:-1]) for a, b in map(speaker._pair, requests)}
    width = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])


if __name__ == "__main__":
    main()
