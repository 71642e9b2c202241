"""What statistics, pruning and a candidate cost on a real model. Run by hand: python -m tests.benchmarks.cost [MODEL]

Aims: the statistics pass takes at most 1.25 times a bare forward pass over the same tokens (of a mixture 1.5 times);
scoring and masking all layers takes at most 3 times reading and writing their weights once. With `--mixtures`, random
models of several families with experts take the place of the real one. Every time is the best of several runs, in
turns, so that other work on the machine harms all of them alike.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from platformdirs import user_data_path

from tests.tools.conftest import random_windows
from tools.io.heap import keep_freed_memory
from tools.model.architecture import describe, weight
from tools.model.checkpoint import Model, open_model
from tools.prune.bench import Bench
from tools.prune.weights.way import from_statistics
from tools.recipe import NM, Recipe
from tools.recipe.methods import method
from tools.statistics.collect import collect
from tools.statistics.inputs import batches
from tools.statistics.routing import routed
from tools.text.windows import windows

WIDE: dict[str, Any] = {
    "vocab_size": 256,
    "hidden_size": 256,
    "intermediate_size": 512,
    "moe_intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "max_position_embeddings": 1024,
    "num_experts_per_tok": 4,
}
MIXTURES: dict[str, dict[str, Any]] = {
    "mixtral": {"num_local_experts": 16},
    "qwen3_moe": {"num_experts": 16, "decoder_sparse_step": 1},
    "gpt_oss": {"num_local_experts": 16},
    "granitemoe": {"num_local_experts": 16},
    "olmoe": {"num_experts": 16},
    "deepseek_v3": {
        "n_routed_experts": 16,
        "num_key_value_heads": 8,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "kv_lora_rank": 64,
        "q_lora_rank": 64,
        "qk_nope_head_dim": 32,
        "qk_rope_head_dim": 32,
        "v_head_dim": 32,
    },
    "llama4_text": {"num_local_experts": 16, "interleave_moe_layer_step": 1},
    "jetmoe": {"num_local_experts": 8, "kv_channels": 32},
}
"""Families with experts, each stored or called in another way."""
PRUNED = {
    "magnitude per matrix": method("magnitude", 0.5),
    "magnitude per row": Recipe(sparsity=0.5, metric="W"),
    "wanda per row": method("wanda", 0.5),
    "wanda per row, 61.3 %": method("wanda", 0.613),
    "wanda 2:4": method("wanda", 0.5, NM(n=2, m=4)),
    "ria per row": method("ria", 0.5),
}
AIM_MIXTURE = 1.5
AIM_STATISTICS, AIM_MASKS = 1.25, 3.0


def seconds(work: Callable[[], object], device: str) -> float:
    start = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def best(jobs: dict[str, Callable[[], object]], device: str, rounds: int) -> dict[str, float]:
    """Seconds of every job: the best of so many rounds, in each of which all of them run."""
    found = dict.fromkeys(jobs, float("inf"))
    for _ in range(rounds):
        for name, work in jobs.items():
            found[name] = min(found[name], seconds(work, device))
    return found


def peak_mib(work: Callable[[], object], device: str) -> float:
    """Memory of the device, or of this process, at the peak of `work`, model included; NaN where nothing tells it."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        ctypes.CDLL(None).malloc_trim(0)  # freed memory goes back to the system and counts when it is used again
        Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark back to what is resident now
    except (OSError, AttributeError):
        return float("nan")
    work()
    line = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def forward(model: Model, ids: list[torch.Tensor]) -> None:
    with torch.inference_mode():
        for rows in ids:
            model.network(rows.to(model.device), use_cache=False, logits_to_keep=1)


def statistics_pass(model: Model, count: int, length: int) -> None:
    text = windows("builtin", model, part="calibration", count=count, length=length)
    jobs: dict[str, Callable[[], object]] = {
        "bare forward pass": lambda: forward(model, batches(text)),
        "statistics pass": lambda: collect(model, text),
        "  with Gram matrices": lambda: collect(model, text, needs=frozenset({"gram"})),
    }
    forward(model, batches(text)[:1])
    memory = {name: peak_mib(work, model.device) for name, work in jobs.items()}
    times = best(jobs, model.device, 3)
    bare = "bare forward pass"
    print(f"\nstatistics, {count} windows of {length} tokens (aim: at most {AIM_STATISTICS} times the bare pass)")
    for name, taken in times.items():
        more = memory[name] / memory[bare]
        print(f"  {name:24} {taken:8.2f} s {taken / times[bare]:6.2f} x   peak {memory[name]:8.0f} MiB {more:6.2f} x")


def mixture(kind: str) -> Model:
    """A random model with experts, wide enough that products and not Python take its time."""
    torch.manual_seed(0)
    network = tf.AutoModelForCausalLM.from_config(tf.AutoConfig.for_model(kind, **WIDE, **MIXTURES[kind])).eval()
    network.requires_grad_(False)
    return Model(kind, Path("nowhere"), network, None, describe(network), kind, "float32", "cpu")  # type: ignore[arg-type]  # no text


def mixtures(count: int, length: int) -> None:
    """The statistics pass of every family, and that which also says how often experts are used, and how much."""
    print(
        f"\nstatistics of mixtures, {count} windows of {length} tokens (aim: at most {AIM_MIXTURE} times the bare pass)"
    )
    for kind in MIXTURES:
        model, text = mixture(kind), random_windows(count, length)
        jobs: dict[str, Callable[[], object]] = {
            "bare": partial(forward, model, batches(text)),
            "weights": partial(collect, model, text),
            "experts": partial(routed, model, batches(text)),
        }
        forward(model, batches(text)[:1])
        times = best(jobs, model.device, 5)
        told = "   ".join(f"{name} {times[name] / times['bare']:5.2f} x" for name in ("weights", "experts"))
        print(f"  {kind:16} bare {times['bare']:6.2f} s   {told}", flush=True)


def masks(bench: Bench) -> None:
    model, dense = bench.model, bench.dense

    def rewrite() -> None:
        with torch.inference_mode():
            for p in model.architecture.projections:
                weight(model.network, p).copy_(dense[p.name])

    ready = {name: bench.prepare(recipe) for name, recipe in PRUNED.items()}
    jobs: dict[str, Callable[[], object]] = {"read and write once": rewrite}
    for name, plan in ready.items():
        jobs[name] = lambda plan=plan: from_statistics(model, dense, bench.statistics, plan)
    times = best(jobs, model.device, 5)
    copy = times["read and write once"]
    size = sum(w.numel() * w.element_size() for w in dense.values()) / 2**20
    print(
        f"\nscoring and masking {size:.0f} MiB of weights (aim: within {AIM_MASKS:g} times of reading and writing them)"
    )
    for name, taken in times.items():
        print(f"  {name:24} {taken:8.3f} s  {taken / copy:6.2f} x")


def candidates(bench: Bench) -> None:
    print("\ncandidates per minute (scores, masks, divergence)")
    for tokens in (2048, 8192):
        taken = min(bench.divergence(recipe, tokens).seconds for recipe in list(PRUNED.values())[:3])
        print(f"  {tokens:6} tokens {60 / taken:24.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of statistics, pruning and candidates on a real model.")
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--mixtures", action="store_true")
    chosen = parser.parse_args()
    keep_freed_memory()  # as a run does
    if chosen.mixtures:
        mixtures(chosen.windows, chosen.length)
        return
    model = open_model(chosen.model, cache=user_data_path("secateur") / "cache", device=chosen.device)
    print(f"{model.name}: {model.dtype} on {model.device}, {torch.get_num_threads()} threads")
    statistics_pass(model, chosen.windows, chosen.length)
    calibration = windows("builtin", model, part="calibration", count=4, length=chosen.length)
    search = windows("builtin", model, part="search", count=16, length=chosen.length)
    bench = Bench(model, calibration, search)
    masks(bench)
    candidates(bench)


if __name__ == "__main__":
    main()
