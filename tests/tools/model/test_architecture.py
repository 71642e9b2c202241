"""Every family, tiny and random: the right projections are found, in order, and their weights can be written."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import pytest
import torch
import transformers as tf

from tests.tools.mixtures import BLOCKS, mixture
from tools.io.errors import SecateurError
from tools.model.architecture import Architecture, describe, weight

Build = Callable[[str], Any]
SMALL: dict[str, Any] = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SIZES = SMALL | {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = model(input_ids=torch.arange(8, 20)[None], use_cache=False).logits
    return out


def test_finds_exactly_the_projections_of_a_family(family: str, looks: Any, build: Build) -> None:
    _, blocks, paths, shapes = looks
    found = describe(build(family))
    assert found.model_type == family
    assert found.n_blocks == 2
    assert [p.name for p in found.projections] == [f"{blocks}.{b}.{path}" for b in range(2) for path in paths]
    assert [(p.role, (p.out_features, p.in_features)) for p in found.of_block(1)] == list(shapes.items())
    assert {p.role for p in found.projections if p.sublayer == "attention"} == set(shapes) & {"q", "k", "v", "qkv", "o"}
    assert found.size == 2 * sum(out * into for out, into in shapes.values())


def roles(found: Architecture, block: int) -> list[list[str]]:
    """Roles of the projections of a block that read one tensor."""
    of = {p.name: p.role for p in found.of_block(block)}
    return [[of[name] for name in names] for names in found.readers if names[0] in of]


@pytest.mark.parametrize(
    ("family", "together"),
    [
        ("llama", [["q", "k", "v"], ["o"], ["gate", "up"], ["down"]]),
        ("phi3", [["qkv"], ["o"], ["gate_up"], ["down"]]),
        ("opt", [["q", "k", "v"], ["o"], ["fc1"], ["fc2"]]),
        ("gpt2", [["qkv"], ["o"], ["fc1"], ["fc2"]]),
    ],
)
def test_readers_are_those_of_one_tensor(family: str, together: list[list[str]], build: Build) -> None:
    found = describe(build(family))
    assert [roles(found, block) for block in range(2)] == [together] * 2
    assert sorted(name for names in found.readers for name in names) == sorted(p.name for p in found.projections)


@pytest.mark.parametrize(
    ("config", "together"),
    [
        # A gate inside the attention reads what q, k and v do, that of the MLP what `up` does.
        (tf.AfmoeConfig(**SIZES, num_dense_layers=2), [["q", "k", "v", "gate"], ["o"], ["gate", "up"], ["down"]]),
        (tf.CohereConfig(**SIZES), [["q", "k", "v", "gate", "up"], ["o"], ["down"]]),
        (tf.PhiConfig(**SIZES), [["q", "k", "v", "fc1"], ["o"], ["fc2"]]),
        (tf.RwkvConfig(**SMALL, hidden_size=32, num_hidden_layers=2), [["k"], ["v"], *[["linear"]] * 5]),
    ],
)
def test_a_role_does_not_say_what_is_read(config: Any, together: list[list[str]]) -> None:
    assert roles(describe(tf.AutoModelForCausalLM.from_config(config)), 1) == together


def test_a_tensor_that_is_written_to_between_two_readers_is_another_one(build: Build) -> None:
    model = build("llama")

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        gate = self.act_fn(self.gate_proj(x))
        return self.down_proj(gate * self.up_proj(x.mul_(2)))

    model.model.layers[0].mlp.forward = MethodType(forward, model.model.layers[0].mlp)
    found = describe(model)
    assert roles(found, 0) == [["q", "k", "v"], ["o"], ["gate"], ["up"], ["down"]]
    assert roles(found, 1) == [["q", "k", "v"], ["o"], ["gate", "up"], ["down"]]


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
    assert found.model_type == "discovered"
    assert found.blocks == "transformer.h"
    assert [p.role for p in found.of_block(0)] == ["q", "k", "v", "o", "fc1", "fc2"]
    assert roles(found, 1) == [["q", "k", "v", "fc1"], ["o"], ["fc2"]]  # attention and MLP side by side
    assert "lm_head" not in {p.name for p in found.projections}


class Odd(torch.nn.Module):
    """An MLP without a gate, whose first matrix has a name that nobody knows, beside one that nobody calls."""

    def __init__(self) -> None:
        super().__init__()
        self.odd, self.down_proj, self.spare = (torch.nn.Linear(a, b) for a, b in ((32, 48), (48, 32), (32, 8)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        said: torch.Tensor = self.down_proj(self.odd(x).relu())
        return said


def test_a_linear_without_a_known_name_is_pruned_and_one_that_is_never_called_is_not(build: Build) -> None:
    model = build("llama")
    for layer in model.model.layers:
        layer.mlp = Odd()
    found = describe(model)
    assert found.model_type == "discovered"
    assert roles(found, 0) == [["q", "k", "v"], ["o"], ["down"], ["linear"]]
    assert found.idle == tuple(f"model.layers.{block}.mlp.spare" for block in range(2))
    blocks = sum(parameter.numel() for parameter in model.model.layers.parameters())
    assert found.block_weights == blocks
    assert found.reach == pytest.approx(2 * (32 * (32 + 16 + 16 + 32) + 2 * 32 * 48) / blocks)


def test_what_multiplies_with_a_weight_by_itself_is_no_projection() -> None:
    config = tf.MambaConfig(**SMALL, hidden_size=32, state_size=4, num_hidden_layers=2)
    found = describe(tf.AutoModelForCausalLM.from_config(config))
    assert [p.name.rpartition(".")[2] for p in found.of_block(0)] == ["out_proj", "in_proj", "x_proj"]
    assert found.idle == tuple(f"backbone.layers.{block}.mixer.dt_proj" for block in range(2))


def test_a_network_that_cannot_run_is_refused_in_one_line(build: Build) -> None:
    model = build("llama")
    model.model.layers[1].mlp.forward = lambda x: x @ torch.zeros(3, 3)
    with pytest.raises(SecateurError, match=r"^LlamaForCausalLM fails in a forward pass: mat1 and mat2") as caught:
        describe(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["BloomConfig", "GPTBigCodeConfig"])
def test_a_name_means_what_its_place_says(kind: str) -> None:
    config = getattr(tf, kind)(**SMALL, hidden_size=32, n_layer=2, n_head=4)
    found = describe(tf.AutoModelForCausalLM.from_config(config))
    assert roles(found, 1) == [["qkv"], ["o"], ["fc1"], ["fc2"]]


@pytest.mark.parametrize(
    ("family", "mlps"),
    [
        ("mixtral", {}),
        ("qwen2_moe", {0: "mlp.shared_expert", 1: "mlp", 2: "mlp.shared_expert"}),
        ("qwen3_moe", {0: "mlp", 2: "mlp"}),
    ],
)
def test_experts_are_projections_shared_ones_too_and_routers_are_none(family: str, mlps: dict[int, str]) -> None:
    found = mixture(family).architecture
    for block in range(found.n_blocks):
        paths = [f"self_attn.{role}_proj" for role in "qkvo"]
        paths += [f"{mlps[block]}.{role}_proj" for role in ("gate", "up", "down")] if block in mlps else []
        if block in BLOCKS[family]:
            paths += [f"mlp.experts.{e}.{role}" for e in range(6) for role in ("gate", "up", "down")]
        assert [p.name for p in found.of_block(block)] == [f"model.layers.{block}.{path}" for path in paths]


MOE = SIZES | {"num_experts_per_tok": 2, "moe_intermediate_size": 24, "num_key_value_heads": 2}
MIXTURES: dict[str, Any] = {
    "olmoe": tf.OlmoeConfig(**MOE, num_experts=6),
    "jetmoe": tf.JetMoeConfig(**SIZES, num_local_experts=6, kv_channels=8),
    "granitemoe": tf.GraniteMoeConfig(**MOE, num_local_experts=6),
    "phimoe": tf.PhimoeConfig(**MOE, num_local_experts=6),
    "llama4_text": tf.Llama4TextConfig(**MOE, num_local_experts=6, head_dim=8),
    "hunyuan_v1_moe": tf.HunYuanMoEV1Config(**MOE, num_experts=6, head_dim=8),
    "afmoe": tf.AfmoeConfig(**MOE, num_experts=6, num_dense_layers=0, head_dim=8),
}


@pytest.mark.parametrize("kind", MIXTURES)
def test_experts_of_families_that_no_table_knows_are_found_and_routers_left_alone(kind: str) -> None:
    """JetMoE's attention is a mixture, too."""
    config = MIXTURES[kind]
    model = tf.AutoModelForCausalLM.from_config(config)
    found = describe(model)
    assert found.model_type == "discovered"
    attention = {"linear"} if kind == "jetmoe" else {"q", "k", "v", "o"}
    assert {p.role for p in found.projections} >= attention
    assert not [p.name for p in found.projections if "router" in p.name or ".gate." in p.name]
    apart = ("norm", "router", "mlp.gate.", "bias")
    blocks = model.get_submodule(found.blocks).named_parameters()
    assert found.size == sum(p.numel() for name, p in blocks if not any(word in name for word in apart))
    assert {p.expert for p in found.of_block(0)} == {None, *range(6)}
    with torch.device("meta"):
        outlined = describe(tf.AutoModelForCausalLM.from_config(config))
    assert outlined.size == found.size
    if kind not in ("jetmoe", "llama4_text"):
        assert outlined.projections == found.projections


def test_a_router_is_known_by_what_it_is_called_where_it_is_and_what_it_puts_out(build: Build) -> None:
    class Mixture(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = torch.nn.ModuleList(torch.nn.Linear(32, 32) for _ in range(5))
            self.wg = torch.nn.Linear(32, 5)  # by its outputs
            self.switch_gate = torch.nn.Sequential(torch.nn.Linear(32, 7), torch.nn.Linear(7, 5))
            self.shared = torch.nn.Linear(32, 32)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            weights = (self.wg(x) + self.switch_gate(x)).softmax(-1)
            said = torch.stack([expert(x) for expert in self.experts], dim=-1)
            return (said * weights.unsqueeze(-2)).sum(-1) + self.shared(x)

    model = build("llama")
    for layer in model.model.layers:
        layer.mlp = Mixture()
    names = [p.name.removeprefix("model.layers.0.") for p in describe(model).of_block(0)]
    experts = [f"mlp.experts.{e}" for e in range(5)]
    assert names == [*(f"self_attn.{role}_proj" for role in "qkvo"), *experts, "mlp.shared"]


def test_a_router_beside_no_mixture_is_left_alone_too() -> None:
    config = tf.Gemma3nTextConfig(
        **SIZES | {"num_key_value_heads": 2}, head_dim=8, num_kv_shared_layers=0, vocab_size_per_layer_input=64,
        hidden_size_per_layer_input=8, laurel_rank=4, layer_types=["full_attention"] * 2,
        activation_sparsity_pattern=[0.0] * 2,
    )  # fmt: skip
    names = {p.name.rpartition(".")[2] for p in describe(tf.AutoModelForCausalLM.from_config(config)).projections}
    assert "modality_router" not in names
    assert {"q_proj", "gate_proj", "linear_left", "per_layer_projection"} <= names


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
