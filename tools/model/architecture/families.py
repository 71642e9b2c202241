"""Architectures as data: where the blocks of a family are, and which path inside a block plays which role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Sublayer = Literal["attention", "mlp"]
"""The two layers of a block."""


@dataclass(frozen=True)
class Family:
    """An architecture as data: where its blocks are, and which path inside a block plays which role."""

    model_types: tuple[str, ...]
    """The `model_type`s of the configurations that look like this."""
    blocks: str
    attention: Mapping[str, str]
    mlp: Mapping[str, str]
    neurons: str = "intermediate_size"
    """The configuration's field for the width of an MLP; empty where it has none."""
    heads: bool = True
    """The configuration states the size of a head, so that a model with fewer heads can be written down."""
    biases: Mapping[Sublayer, str] = field(default_factory=dict)
    """The configuration's switches for biases; without one the family's projections cannot be given any."""

    @property
    def paths(self) -> dict[str, tuple[str, Sublayer]]:
        """Path inside a block -> role and sublayer, in forward order."""
        sublayers: tuple[tuple[Sublayer, Mapping[str, str]], ...] = (("attention", self.attention), ("mlp", self.mlp))
        return {path: (role, sublayer) for sublayer, roles in sublayers for role, path in roles.items()}


SPLIT_ATTENTION = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
}
GATED_MLP = {"gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"}
FAMILIES: tuple[Family, ...] = (
    Family(
        ("llama",),
        "model.layers",
        SPLIT_ATTENTION,
        GATED_MLP,
        biases={"attention": "attention_bias", "mlp": "mlp_bias"},
    ),
    Family(("mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"), "model.layers", SPLIT_ATTENTION, GATED_MLP),
    Family(("gemma3",), "model.language_model.layers", SPLIT_ATTENTION, GATED_MLP),
    Family(
        ("phi3",),
        "model.layers",
        {"qkv": "self_attn.qkv_proj", "o": "self_attn.o_proj"},
        {"gate_up": "mlp.gate_up_proj", "down": "mlp.down_proj"},
    ),
    Family(
        ("opt",),
        "model.decoder.layers",
        SPLIT_ATTENTION | {"o": "self_attn.out_proj"},
        {"fc1": "fc1", "fc2": "fc2"},
        neurons="ffn_dim",
        heads=False,
    ),
    Family(
        ("gpt_neox",),
        "gpt_neox.layers",
        {"qkv": "attention.query_key_value", "o": "attention.dense"},
        {"fc1": "mlp.dense_h_to_4h", "fc2": "mlp.dense_4h_to_h"},
        heads=False,
    ),
    Family(
        ("gpt2",),
        "transformer.h",
        {"qkv": "attn.c_attn", "o": "attn.c_proj"},
        {"fc1": "mlp.c_fc", "fc2": "mlp.c_proj"},
        neurons="n_inner",
        heads=False,
    ),
)


def family_named(model_type: str) -> Family | None:
    """The family of a configuration's `model_type`; None where none is known."""
    return next((family for family in FAMILIES if model_type in family.model_types), None)
