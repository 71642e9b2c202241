"""Every family, tiny and random: the right projections are found, in order, and their weights can be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers as tf

from tests.tools.mixtures import mixture
from tools.architecture import describe, weight
from tools.errors import SecateurError

Build = Callable[[str], Any]
SMALL: dict[str, Any] = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = model(input_ids=torch.arange(8, 20)[None], use_cache=False).logits
    return out


def test_finds_exactly_the_projections_of_a_family(family: str, looks: Any, build: Build) -> None:
    _, blocks, paths, shapes = looks
    found = describe(build(family))
    assert found.family == family
    assert found.n_blocks == 2
    assert [p.name for p in found.projections] == [f"{blocks}.{b}.{path}" for b in range(2) for path in paths]
    assert [(p.role, (p.out_features, p.in_features)) for p in found.of_block(1)] == list(shapes.items())
    assert {p.role for p in found.projections if p.sublayer == "attention"} == set(shapes) & {"q", "k", "v", "qkv", "o"}
    assert found.size == 2 * sum(out * into for out, into in shapes.values())


@pytest.mark.parametrize(
    ("family", "stages"),
    [
        ("llama", [["q", "k", "v"], ["o"], ["gate", "up"], ["down"]]),
        ("phi3", [["qkv"], ["o"], ["gate_up"], ["down"]]),
        ("opt", [["q", "k", "v"], ["o"], ["fc1"], ["fc2"]]),
        ("gpt2", [["qkv"], ["o"], ["fc1"], ["fc2"]]),
    ],
)
def test_stages_hold_what_reads_one_input(family: str, stages: list[list[str]], build: Build) -> None:
    found = describe(build(family))
    for block in range(2):
        assert [[p.role for p in stage] for stage in found.stages(block)] == stages
        assert {p.block for stage in found.stages(block) for p in stage} == {block}


def test_a_weight_is_the_matrix_that_the_module_applies(family: str, build: Build) -> None:
    model = build(family)
    for projection in describe(model).of_block(0):
        module = model.get_submodule(projection.name)
        matrix = weight(model, projection)
        assert matrix.shape == (projection.out_features, projection.in_features)
        x = torch.randn(3, projection.in_features)
        bias = 0 if module.bias is None else module.bias
        torch.testing.assert_close(module(x), x @ matrix.T + bias)


def test_writing_into_every_weight_changes_the_model_and_nothing_else(family: str, build: Build) -> None:
    model = build(family)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    dense, found = logits(model), describe(model)
    for projection in found.projections:
        weight(model, projection).mul_(0)
    changed = {name.removesuffix(".weight") for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {p.name for p in found.projections}
    assert not torch.allclose(logits(model), dense)


@pytest.mark.parametrize(("family", "tied"), [("gpt2", True), ("gpt_neox", False)])
def test_tells_a_tied_head(family: str, tied: bool, build: Build) -> None:
    assert describe(build(family)).tied_head is tied


def test_discovers_a_family_that_no_table_knows() -> None:
    config = tf.GPTJConfig(**SMALL, n_embd=32, n_layer=2, n_head=4, n_positions=64, rotary_dim=4)
    found = describe(tf.AutoModelForCausalLM.from_config(config))
    assert found.family == "discovered"
    assert found.blocks == "transformer.h"
    assert [p.role for p in found.of_block(0)] == ["q", "k", "v", "o", "fc1", "fc2"]
    assert [[p.role for p in s] for s in found.stages(1)] == [["q", "k", "v"], ["o"], ["fc1"], ["fc2"]]
    assert "lm_head" not in {p.name for p in found.projections}


def test_a_linear_without_a_known_name_is_pruned_alone_and_in_its_place(build: Build) -> None:
    model = build("llama")
    for layer in model.model.layers:
        layer.self_attn.extra = torch.nn.Linear(32, 8)
        del layer.mlp.gate_proj
    found = describe(model)
    roles = [[p.role for p in stage] for stage in found.stages(0)]
    assert found.family == "discovered"
    assert roles == [["q", "k", "v"], ["o"], ["linear"], ["up"], ["down"]]


@pytest.mark.parametrize("kind", ["BloomConfig", "GPTBigCodeConfig"])
def test_a_name_means_what_its_place_says(kind: str) -> None:
    config = getattr(tf, kind)(**SMALL, hidden_size=32, n_layer=2, n_head=4)
    found = describe(tf.AutoModelForCausalLM.from_config(config))
    assert [[p.role for p in stage] for stage in found.stages(1)] == [["qkv"], ["o"], ["fc1"], ["fc2"]]


@pytest.mark.parametrize(
    ("family", "mlps"),
    [
        ("mixtral", {}),
        ("qwen2_moe", {0: "mlp.shared_expert", 1: "mlp", 2: "mlp.shared_expert"}),
        ("qwen3_moe", {0: "mlp", 2: "mlp"}),
    ],
)
def test_experts_and_routers_are_no_projections_but_shared_experts_are(family: str, mlps: dict[int, str]) -> None:
    found = mixture(family).architecture
    assert found.family == family
    for block in range(found.n_blocks):
        paths = [f"self_attn.{role}_proj" for role in "qkvo"]
        paths += [f"{mlps[block]}.{role}_proj" for role in ("gate", "up", "down")] if block in mlps else []
        assert [p.name for p in found.of_block(block)] == [f"model.layers.{block}.{path}" for path in paths]


def test_experts_of_a_family_that_no_table_knows_are_left_alone() -> None:
    config = tf.OlmoeConfig(**SMALL, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
    found = describe(tf.AutoModelForCausalLM.from_config(config))
    assert found.family == "discovered"
    assert {p.role for p in found.projections} == {"q", "k", "v", "o"}


def test_a_network_without_linear_blocks_is_refused_in_one_line(build: Build) -> None:
    model = build("llama")
    model.model.layers = torch.nn.ModuleList([torch.nn.ReLU()])
    with pytest.raises(SecateurError, match="nothing can be pruned") as caught:
        describe(model)
    assert "\n" not in str(caught.value)


def test_quantised_weights_are_refused(build: Build) -> None:
    model = build("llama")
    module = model.model.layers[1].mlp.up_proj
    module.weight = torch.nn.Parameter(module.weight.data.to(torch.int8), requires_grad=False)
    with pytest.raises(SecateurError, match=r"model\.layers\.1\.mlp\.up_proj is stored quantised"):
        describe(model)
