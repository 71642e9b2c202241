"""Mixtures written plainly: one token, one expert at a time, from the parameters as their families store them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers as tf
from torch.nn.functional import silu

from tests.tools.conftest import LLAMA
from tests.tools.mixtures import CONFIGS, MOE
from tools.model.architecture import describe
from tools.model.checkpoint import Model

FEW = LLAMA | {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8}
STACKED: dict[str, Any] = {
    "mixtral": CONFIGS["mixtral"],
    "qwen3_moe": CONFIGS["qwen3_moe"],
    "gpt_oss": tf.GptOssConfig(**FEW, layer_types=["sliding_attention", "full_attention"], sliding_window=8),
    "llama4_text": tf.Llama4TextConfig(**FEW, intermediate_size_mlp=40, attention_chunk_size=8),
    "olmoe": tf.OlmoeConfig(**(MOE | {"num_experts_per_tok": 2})),
}
"""Stored (expert, out, in), and (expert, in, out) with gate and up in turns and biases, or one after the other."""


class Matrices(NamedTuple):
    """Of one expert, each (out, in), views of the parameters; biases (out,)."""

    gate: torch.Tensor
    up: torch.Tensor
    down: torch.Tensor


def stacked(kind: str) -> Model:
    """An opened model, with weights large enough to matter."""
    torch.manual_seed(0)
    network = tf.AutoModelForCausalLM.from_config(STACKED[kind]).eval()
    for parameter in network.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    network.requires_grad_(False)
    return Model(kind, Path("nowhere"), network, None, describe(network), kind, "float32", "cpu")  # type: ignore[arg-type]


def experts_of(model: Model) -> Iterator[tuple[str, Any]]:
    """Path and module of the experts of every block that has any, in forward order."""
    for name, module in model.network.named_modules():
        if name.rpartition(".")[2] == "experts":
            yield name, module


def matrices(kind: str, experts: Any, e: int) -> Matrices:
    """The three matrices of an expert as the family's paper calls them."""
    both, down = experts.gate_up_proj[e], experts.down_proj[e]
    if kind == "gpt_oss":
        return Matrices(both[:, 0::2].T, both[:, 1::2].T, down.T)
    if kind == "llama4_text":
        half = both.shape[1] // 2
        return Matrices(both[:, :half].T, both[:, half:].T, down.T)
    half = both.shape[0] // 2
    return Matrices(both[:half], both[half:], down)


def said(kind: str, experts: Any, e: int, x: torch.Tensor) -> torch.Tensor:
    """What the rows (n, neurons) are that an expert's last matrix reads, for its tokens x (n, width)."""
    gate, up, _ = matrices(kind, experts, e)
    if kind != "gpt_oss":
        return silu(x @ gate.T) * (x @ up.T)
    bias = experts.gate_up_proj_bias[e]
    a = (x @ gate.T + bias[0::2]).clamp(max=experts.limit)
    b = (x @ up.T + bias[1::2]).clamp(-experts.limit, experts.limit)
    return (b + 1) * a * torch.sigmoid(a * experts.alpha)


def tokens_of(kind: str, experts: Any, args: tuple[Any, ...], kwargs: dict[str, Any], e: int) -> torch.Tensor:
    """The tokens (n, width) that come to an expert in one call of the mixture."""
    given = [*args, *kwargs.values()]
    if kind == "llama4_text":  # every expert is handed all tokens, those of others as zeros
        rows = given[0].view(experts.num_experts, -1, experts.hidden_size)[e]
        return torch.stack([row for row in rows if bool(row.any())]) if bool(rows.any()) else rows[:0]
    chosen = [token for token, picked in enumerate(given[1].tolist()) if e in picked]
    tokens: torch.Tensor = given[0][chosen]
    return tokens


def inputs_by_loops(model: Model, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """What every matrix of every expert reads in forward passes over windows: `PATH.e` and `PATH.e.down`."""
    found: dict[str, list[torch.Tensor]] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: Any, args: Any, kwargs: Any) -> None:
            for e in range(module.num_experts):
                x = tokens_of(model.name, module, args, kwargs, e)
                found.setdefault(f"{name}.{e}", []).append(x)
                found.setdefault(f"{name}.{e}.down", []).append(said(model.name, module, e, x))

        return hook

    handles = [m.register_forward_pre_hook(keep(name), with_kwargs=True) for name, m in experts_of(model)]
    with torch.no_grad():
        for window in ids:
            model.network(window[None], use_cache=False)
    for handle in handles:
        handle.remove()
    return {name: torch.cat(parts) for name, parts in found.items()}
