"""A Llama whose blocks differ, made from one whose blocks are equal, and three plain ways to compute with it.

The reference is the full network with weights of zero where the smaller one has none: transformers computes it, so it
needs no code of the smaller one. The other two are the loops of llama.cpp's deci.cpp and of vLLM's nemotron_nas.py,
written plainly.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from safetensors.torch import load_file, save_file
from torch.nn.functional import scaled_dot_product_attention, silu

Block = dict[str, Any]
"""As in `per_layer_config`."""

SIZES: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "bos_token_id": None,
    "eos_token_id": 0,
}
CODE = "modeling_pruned.py"


def random_network(config: Any) -> Any:
    torch.manual_seed(0)
    network: Any = tf.AutoModelForCausalLM.from_config(config).eval()
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1 or name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.2)
        else:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)  # norms
    return network.requires_grad_(False)


def narrow(network: Any, tokenizer: Any, blocks: Mapping[int, Block], folder: Path) -> None:
    """Save a smaller network, the first heads, groups and neurons of each block, and zero the rest of `network`."""
    config = network.config
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    for index, own in blocks.items():
        block = network.model.layers[index]
        place = f"model.layers.{index}."
        heads = own.get("num_attention_heads", config.num_attention_heads) * config.head_dim
        groups = own.get("num_key_value_heads", config.num_key_value_heads) * config.head_dim
        neurons = own.get("intermediate_size", config.intermediate_size)
        skip = own.get("skip", [])
        for role, rows in (("q", heads), ("k", groups), ("v", groups)):
            for kind, values in block.self_attn.get_submodule(f"{role}_proj").named_parameters():
                tensors[f"{place}self_attn.{role}_proj.{kind}"] = values[:rows]
        tensors[f"{place}self_attn.o_proj.weight"] = block.self_attn.o_proj.weight[:, :heads]
        for role in ("gate", "up"):
            tensors[f"{place}mlp.{role}_proj.weight"] = block.mlp.get_submodule(f"{role}_proj").weight[:neurons]
        tensors[f"{place}mlp.down_proj.weight"] = block.mlp.down_proj.weight[:, :neurons]
        block.self_attn.o_proj.weight[:, 0 if "attention" in skip else heads :] = 0
        block.mlp.down_proj.weight[:, 0 if "mlp" in skip else neurons :] = 0
        for sublayer, gone in (("self_attn", "attention"), ("mlp", "mlp")):
            if gone in skip:
                tensors = {name: t for name, t in tensors.items() if not name.startswith(f"{place}{sublayer}.")}
        _share_groups(block.self_attn, config, own)
    save_file({n: t.contiguous() for n, t in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    written = json.loads((folder / "config.json").read_text())
    written["per_layer_config"] = {str(index): own for index, own in blocks.items()}
    written["architectures"] = ["PrunedLlamaForCausalLM"]
    names = {"AutoModel": "PrunedLlamaModel", "AutoModelForCausalLM": "PrunedLlamaForCausalLM"}
    written["auto_map"] = {kind: f"modeling_pruned.{name}" for kind, name in names.items()}
    (folder / "config.json").write_text(json.dumps(written))
    (folder / CODE).write_text("raise RuntimeError('nothing of a folder is executed')\n")


def _share_groups(attention: Any, config: Any, own: Block) -> None:
    """Where more query heads share fewer key-value heads, let the full network use the same ones for the same heads.

    It can where heads that share a group in the full network share one in the smaller network, too.
    """
    heads, groups = own.get("num_attention_heads"), own.get("num_key_value_heads")
    if groups is None:
        return
    heads = heads or config.num_attention_heads
    full = config.num_attention_heads // config.num_key_value_heads
    for values in (*attention.k_proj.parameters(), *attention.v_proj.parameters()):
        rows = values.view(config.num_key_value_heads, config.head_dim, -1)
        kept = rows[:groups].clone()
        for group in range(config.num_key_value_heads):
            rows[group] = kept[min(group * full // (heads // groups), groups - 1)]


def logits_of(network: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = network(input_ids=ids[None], use_cache=False).logits[0]
    return found


def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def turn_halves(x: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of (heads, positions, size) as transformers and vLLM turn it: i with i + size / 2."""
    cos, sin = _angles(x)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def turn_neighbours(x: torch.Tensor) -> torch.Tensor:
    """The same as llama.cpp turns it in a Llama: 2 i with 2 i + 1."""
    cos, sin = _angles(x)
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)


def _angles(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    size = x.shape[-1]
    turns = torch.arange(x.shape[-2])[:, None] * 10000.0 ** (-torch.arange(0, size, 2) / size)
    return turns.cos(), turns.sin()


def attend(
    x: torch.Tensor, weights: Mapping[str, torch.Tensor], names: str, head_dim: int, turn: Callable[..., torch.Tensor]
) -> torch.Tensor:
    """Grouped-query attention of (positions, hidden), with as many heads as the weights have."""
    roles = [names.format(role) for role in "qkv"]
    projected = [x @ weights[role].T + weights.get(role.replace(".weight", ".bias"), 0) for role in roles]
    q, k, v = (values.unflatten(-1, (-1, head_dim)).transpose(0, 1) for values in projected)
    groups = q.shape[0] // k.shape[0]
    k, v = (turn(k).repeat_interleave(groups, 0), v.repeat_interleave(groups, 0))
    found = scaled_dot_product_attention(turn(q), k, v, is_causal=True)
    return found.transpose(0, 1).flatten(1) @ weights[names.format("output" if "attn_" in names else "o")].T


def as_llama_cpp(weights: Mapping[str, torch.Tensor], ids: torch.Tensor, fields: Mapping[str, Any]) -> torch.Tensor:
    """Logits by the loop of deci.cpp, which is that of a Llama where blocks are equal.

    A block without MLP leaves out its attention there, too.
    """
    x = weights["token_embd.weight"][ids]
    head_dim = fields["attention.key_length"]
    counts = [fields[name] for name in ("attention.head_count", "feed_forward_length")]
    sizes = [count if isinstance(count, list) else [count] * fields["block_count"] for count in counts]
    for index, (heads, neurons) in enumerate(zip(*sizes, strict=True)):
        at = f"blk.{index}."
        added = x
        if heads:
            normed = norm(x, weights[f"{at}attn_norm.weight"])
            added = attend(normed, weights, at + "attn_{}.weight", head_dim, turn_neighbours)
        if not neurons:
            continue
        inner = added + x if heads else added
        normed = norm(inner, weights[f"{at}ffn_norm.weight"])
        gate, up, down = (weights[f"{at}ffn_{role}.weight"] for role in ("gate", "up", "down"))
        x = inner + (silu(normed @ gate.T) * (normed @ up.T)) @ down.T
    head = weights.get("output.weight", weights["token_embd.weight"])
    return norm(x, weights["output_norm.weight"]) @ head.T


def as_vllm(weights: dict[str, torch.Tensor], ids: torch.Tensor, config: Any) -> torch.Tensor:
    """Logits by the loop of nemotron_nas.py, which adds a sublayer's result to the residual in the next norm.

    Every tensor must find its place, so what is used is taken out of `weights`, which must be empty in the end.
    """
    x, residual = weights["model.embed_tokens.weight"][ids], None
    head = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
    for index, block in enumerate(config.block_configs):
        at = f"model.layers.{index}."
        if not block.attention.no_op:
            residual = x if residual is None else residual + x
            x = norm(residual, weights.pop(f"{at}input_layernorm.weight"))
            kv_heads = config.num_attention_heads // block.attention.n_heads_in_group
            assert weights[f"{at}self_attn.k_proj.weight"].shape[0] == kv_heads * config.head_dim
            x = attend(x, weights, at + "self_attn.{}_proj.weight", config.head_dim, turn_halves)
            weights = {name: t for name, t in weights.items() if not name.startswith(f"{at}self_attn.")}
        if not block.ffn.no_op:
            assert residual is not None
            assert not hasattr(block.ffn, "ffn_mult")
            residual = residual + x
            x = norm(residual, weights.pop(f"{at}post_attention_layernorm.weight"))
            gate, up, down = (weights.pop(f"{at}mlp.{role}_proj.weight") for role in ("gate", "up", "down"))
            assert gate.shape[0] == block.ffn.intermediate_size
            x = (silu(x @ gate.T) * (x @ up.T)) @ down.T
    assert residual is not None
    found = norm(residual + x, weights.pop("model.norm.weight")) @ head.T
    assert set(weights) <= {"model.embed_tokens.weight", "lm_head.weight"}
    return found
