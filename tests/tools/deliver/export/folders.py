"""Folders to be exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers as tf

from tests.tools.blocks_that_differ import SIZES, Block, random_network
from tools.deliver.export import Verdict, export

IDS = torch.randint(8, 500, (24,), generator=torch.Generator().manual_seed(1))


PLAIN = {
    "llama": tf.LlamaConfig(**SIZES, tie_word_embeddings=True),
    "mistral": tf.MistralConfig(**SIZES, sliding_window=None),
    "qwen2": tf.Qwen2Config(**SIZES),
    "qwen3": tf.Qwen3Config(**SIZES),
    "narrow": tf.LlamaConfig(**SIZES | {"num_attention_heads": 4, "num_key_value_heads": 2}),
}


DIFFERENT: dict[int, Block] = {
    0: {"intermediate_size": 40, "skip": ["attention"]},
    1: {"num_attention_heads": 4, "num_key_value_heads": 2, "skip": ["mlp"]},
    2: {"skip": ["attention", "mlp"]},
    3: {"num_attention_heads": 3, "num_key_value_heads": 1, "skip": ["mlp"]},
}


FEWER_HEADS: dict[int, Block] = {index: {"num_attention_heads": 4, "num_key_value_heads": 2} for index in range(4)}


EQUAL_HEADS: dict[int, Block] = {
    0: {"intermediate_size": 40},
    1: {"num_key_value_heads": 1, "skip": ["mlp"]},
    2: {"skip": ["attention"], "intermediate_size": 24},
    3: {"skip": ["attention", "mlp"]},
}


def plain(config: Any, tokenizer: Any, folder: Path) -> Any:
    network = random_network(config)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return network


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def judged(folder: Path, target: Any) -> Verdict:
    verdict = export(folder, target)
    assert all("\n" not in line for line in verdict.lines)
    return verdict
