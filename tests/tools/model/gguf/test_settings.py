"""Every tensor and every key of a GGUF file is accounted for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tools.ggufs import network_of, write
from tests.tools.model.gguf.files import PROBE, WORDS, logits, refused
from tools.model.checkpoint import open_model
from tools.model.gguf.rotary import llama3_divisors, stretching


def lose(name: str) -> Any:
    return lambda tensors: tensors.pop(name)


def gain(name: str, *shape: int) -> Any:
    return lambda tensors: tensors.update({name: torch.ones(shape)})


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lose("blk.1.ffn_up.weight"), "1 weights are missing or misshapen, first model.layers.1.mlp.up_proj.weight"),
        (lose("output_norm.weight"), "1 weights are missing or misshapen, first model.norm.weight"),
        (gain("blk.0.attn_q_norm.weight", 8), "1 of its tensors are not read by transformers, first blk.0.attn_q_norm"),
        (gain("blk.0.ffn_gate_inp.weight", 8, 32), "first blk.0.ffn_gate_inp.weight"),
        (gain("blk.2.attn_q.weight", 32, 32), "first blk.2.attn_q.weight"),
        (gain("rope_factors_long.weight", 4), "first rope_factors_long.weight"),
        (gain("output.bias", 260), "first output.bias"),
    ],
)
def test_every_tensor_and_every_weight_is_accounted_for(change: Any, line: str, tmp_path: Path) -> None:
    write(tmp_path / "it.gguf", network_of(260), WORDS, change=change)
    assert line in refused(tmp_path / "it.gguf", tmp_path / "cache")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attention.sliding_window", 64),
        ("attention.scale", 0.5),
        ("attention.key_length", 16),
        ("attention.value_length", 4),
        ("attention.causal", False),
        ("attention.clamp_kqv", 8.0),
        ("attention.of_tomorrow", 1),
        ("attention.kind", "hyperbolic"),
        ("rope.scaling.type", "longrope"),
        ("rope.of_tomorrow", 1),
        ("rope.dimension_count", 4),
        ("final_logit_softcapping", 30.0),
        ("logit_scale", 0.25),
        ("expert_count", 8),
        ("use_parallel_residual", True),
    ],
)
def test_a_key_that_the_network_does_not_heed_is_refused(key: str, value: Any, tmp_path: Path) -> None:
    write(tmp_path / "it.gguf", network_of(260), WORDS, {f"llama.{key}": value})
    line = refused(tmp_path / "it.gguf", tmp_path / "cache")
    assert key in line or {"attention.key_length": "misshapen", "rope.dimension_count": "rotary embedding"}[key] in line


def test_keys_that_change_nothing_are_no_hindrance(tmp_path: Path) -> None:
    network = network_of(260)
    said = {"attention.scale": 8**-0.5, "attention.key_length": 8, "attention.value_length": 8, "expert_count": 0}
    said |= {"rope.dimension_count": 8, "rope.scaling.finetuned": True, "rope.scaling.type": "none", "vocab_size": 260}
    said |= {"attention.causal": True, "attention.sliding_window": 0, "tensor_data_layout": "Meta AI original pth"}
    more = {"general.quantized_by": "somebody", "quantize.imatrix.chunks_count": 3, "general.name": "mistral"}
    file = write(tmp_path / "it.gguf", network, WORDS, {f"llama.{key}": value for key, value in said.items()} | more)
    model = open_model(str(file), cache=tmp_path / "cache")
    assert model.network.config.model_type == "llama"  # a Mistral would get a window
    torch.testing.assert_close(logits(model), network(input_ids=PROBE).logits, rtol=1e-4, atol=1e-4)


def test_what_a_file_leaves_out_is_as_llama_cpp_has_it(tmp_path: Path) -> None:
    network = network_of(260, num_key_value_heads=4)
    file = write(
        tmp_path / "it.gguf", network, WORDS, {"llama.attention.head_count_kv": None, "llama.rope.freq_base": None}
    )
    model = open_model(str(file), cache=tmp_path / "cache")
    torch.testing.assert_close(logits(model), network(input_ids=PROBE).logits, rtol=1e-4, atol=1e-4)


def test_biases_come_one_by_one(tmp_path: Path) -> None:
    """llama.cpp's Llama has any of them; that of transformers has those of all four projections, or of none."""
    network = network_of(260, attention_bias=True)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            values = torch.linspace(-1, 1, len(parameter))
            parameter.data = values if "layers.1.self_attn.q_" in name else torch.zeros_like(values)

    def only_one(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if name.endswith("bias") and name != "blk.1.attn_q.bias"]:
            tensors.pop(name)

    file = write(tmp_path / "it.gguf", network, WORDS, change=only_one)
    model = open_model(str(file), cache=tmp_path / "cache")
    assert len([n for n, _ in model.network.named_parameters() if n.endswith("bias")]) == 8
    torch.testing.assert_close(logits(model), network(input_ids=PROBE).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("theta", "size", "factor", "low", "high", "context"),
    [
        (500000.0, 128, 8.0, 1.0, 4.0, 8192),
        (500000.0, 64, 32.0, 1.0, 4.0, 8192),
        (500000.0, 128, 16.0, 1.0, 1.0 + 1e-3, 8192),  # no pair between the ends
        (500000.0, 64, 8.0, 2.0, 3.0, 100),  # one
        (10000.0, 256, 4.0, 1.0, 16.0, 1000),
    ],
)
def test_divisors_give_their_parameters(
    theta: float, size: int, factor: float, low: float, high: float, context: int
) -> None:
    divisors = llama3_divisors(theta, size, factor, low, high, context)
    found = stretching(divisors, theta)
    assert (found["factor"], found["low_freq_factor"]) == (factor, 1.0)
    names = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    torch.testing.assert_close(
        llama3_divisors(theta, size, *(found[name] for name in names)), divisors, rtol=2e-6, atol=0
    )
    if size == 128 and high == 4.0:
        assert (found["high_freq_factor"], found["original_max_position_embeddings"]) == (4.0, 8192)


def test_divisors_of_no_stretching_are_refused(tmp_path: Path) -> None:
    def wild(tensors: dict[str, torch.Tensor]) -> None:
        tensors["rope_freqs.weight"] = torch.tensor([1.0, 7.0, 2.0, 5.0])

    write(tmp_path / "it.gguf", network_of(260), WORDS, change=wild)
    assert "holds divisors that no llama3 scaling" in refused(tmp_path / "it.gguf", tmp_path / "cache")
    network = network_of(260)
    write(tmp_path / "it.gguf", network, WORDS, change=gain("rope_freqs.weight", 4))  # ones: nothing is stretched
    model = open_model(str(tmp_path / "it.gguf"), cache=tmp_path / "cache")
    torch.testing.assert_close(logits(model), network(input_ids=PROBE).logits, rtol=1e-4, atol=1e-4)
