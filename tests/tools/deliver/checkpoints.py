"""Checkpoints to be pruned and saved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers as tf

from tests.tools.blocks_that_differ import random_network
from tools.deliver.save import save_model
from tools.model.checkpoint import Model
from tools.model.sample import TINY
from tools.recipe import Recipe

RECIPE = Recipe(sparsity=0.5, metric="W")


IDS = torch.arange(8, 40)


LLAMA_3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0}
LLAMA_3 |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 32}


BASE: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}


def with_tokenizer(folder: Path) -> Path:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(TINY / name, folder / name)
    return folder


def checkpoint(folder: Path, dtype: torch.dtype, config: Any = None) -> Path:
    """A folder with weights in this precision, and tiny's tokenizer."""
    config = config or tf.LlamaConfig(**BASE, rope_parameters=dict(LLAMA_3))
    random_network(config).to(dtype).save_pretrained(folder)
    return with_tokenizer(folder)


def saved(model: Model, folder: Path) -> Path:
    save_model(model, folder, recipe=RECIPE, card="")
    return folder


def configuration(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found
