"""Blocks of families of many kinds, run one at a time, are called as whole forward passes call them.

All families: `python -m tests.benchmarks.families --blocks`.
"""

from __future__ import annotations

import pytest
import torch

from tests.families.exact import BOUND, different_windows, looking, opened, worst

KINDS = {
    "bloom": "ALiBi",
    "mpt": "ALiBi, and masks of its own",
    "gemma2": "two masks",
    "gemma3n_text": "per-layer inputs, shared keys and values, four streams",
    "gemma4_text": "per-layer inputs, shared keys and values",
    "llama4_text": "masks of chunks, blocks without positions",
    "deepseek_v3": "latent attention, experts in groups",
    "deepseek_v4": "hyper-connections, compressed keys",
    "qwen3_next": "gated delta rule",
    "jamba": "Mamba, attention and experts",
    "mamba": "no attention",
    "falcon_h1": "Mamba beside attention",
    "phi": "parallel attention and MLP",
    "gpt_neox": "parallel attention and MLP, partial rotary embeddings",
    "bart": "decoder of an encoder-decoder",
    "mllama": "cross-attention that is left out without an image",
    "gpt_oss": "sinks, interleaved experts",
}


@pytest.mark.parametrize("family", KINDS)
def test_every_block_is_called_as_in_a_whole_pass_over_each_of_six_windows(family: str) -> None:
    model, ids = opened(family), different_windows()
    for size in (1, 4):  # alone, and together as they are pruned, the last batch smaller
        found = worst(model, ids.split(size))
        assert found.difference < BOUND, found.where


def test_what_was_seen_with_another_window_is_not_what_a_block_is_called_with() -> None:
    """Of two windows even what a block is handed beside hidden states differs, or nothing would be proven."""
    network = opened("gemma3n_text").network
    calls = []
    for ids in different_windows()[:2].split(1):
        with looking(list(network.model.layers)) as seen, torch.no_grad():
            network(ids, use_cache=False)
        calls.append(seen[1][0])
    beside = {name for name, t in calls[0].items() if name.startswith("given") and not torch.equal(t, calls[1][name])}
    assert len(beside) > 1, "hidden states, and per-layer inputs"
