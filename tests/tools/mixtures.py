"""Tiny random models with experts: every block, with a shared expert and a block without any, every second block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers as tf

from tests.tools.conftest import LLAMA
from tools.model.architecture import describe
from tools.model.checkpoint import Model

MOE = LLAMA | {"num_experts": 6, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 40}
QWEN2 = MOE | {"num_hidden_layers": 3, "mlp_only_layers": [1], "num_experts_per_tok": 2, "norm_topk_prob": False}
QWEN3 = MOE | {"num_hidden_layers": 4, "decoder_sparse_step": 2, "num_experts_per_tok": 3, "head_dim": 8}
QWEN3.pop("shared_expert_intermediate_size")

CONFIGS: dict[str, Any] = {
    "mixtral": tf.MixtralConfig(**LLAMA, num_local_experts=6, num_experts_per_tok=2),
    "qwen2_moe": tf.Qwen2MoeConfig(**QWEN2),
    "qwen3_moe": tf.Qwen3MoeConfig(**QWEN3, norm_topk_prob=True),
}
BLOCKS = {"mixtral": (0, 1), "qwen2_moe": (0, 2), "qwen3_moe": (1, 3)}
"""Those that have experts."""


def mixture(family: str, tokenizer: Any = None, **changes: Any) -> Model:
    """An opened model, with weights large enough to matter."""
    torch.manual_seed(0)
    config = type(CONFIGS[family]).from_dict(CONFIGS[family].to_dict() | changes)
    network = tf.AutoModelForCausalLM.from_config(config).eval()
    for parameter in network.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    network.requires_grad_(False)
    return Model(family, Path("nowhere"), network, tokenizer, describe(network), family, "float32", "cpu")
