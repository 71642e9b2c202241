"""Depth and width of families that no entry names: what is left says what the dense model says without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.families.tiny import VOCABULARY, build
from tools.io.errors import SecateurError
from tools.model.architecture import describe, weight
from tools.model.checkpoint import Model
from tools.prune.bench import Bench
from tools.prune.structures.learnt.depth import shorten
from tools.prune.structures.learnt.plan import learn, stays
from tools.prune.structures.learnt.smaller import LearntSmaller
from tools.recipe import Structured
from tools.recipe.methods import method
from tools.text.windows import Windows

IDS = torch.arange(8, 40).reshape(2, 16)
RANDOM = torch.randint(8, VOCABULARY, (4, 32), generator=torch.Generator().manual_seed(0))
WINDOWS = Windows(RANDOM, "random", "random", "random", (0, 32, 64, 96))
DEPTH = ("bert", "gpt_neo", "jamba", "bamba", "qwen3_next", "mixtral", "bloom", "gemma3n_text", "falcon_h1", "gpt_oss")
DEPTH += ("gemma4_text",)
WIDTH = ("bert", "gpt_neo", "jamba", "qwen3_next", "mixtral", "gpt_oss", "codegen", "falcon_h1", "deepseek_v3")


def opened(family: str) -> Model:
    network = build(family)
    return Model(family, Path("nowhere"), network, None, describe(network), family, "float32", "cpu")  # type: ignore[arg-type]  # no text


def finished(family: str, kind: Any) -> Bench:
    bench = Bench(opened(family), WINDOWS, None)
    name = "shortgpt" if kind == "depth" else "wanda_sp"
    bench.finish(method(name, 0.25, Structured(kind=kind, multiple=4)))
    return bench


def said(network: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = network(IDS, use_cache=False).logits
    return logits


@pytest.mark.parametrize("family", DEPTH)
def test_a_model_with_fewer_blocks_is_the_dense_one_that_skips_them(family: str) -> None:
    bench, dense = finished(family, "depth"), build(family)
    made = bench.made
    assert isinstance(made, LearntSmaller)
    stay = stays(made.layout.layers, made.layout.sizes)
    blocks = list(dense.get_submodule(bench.model.architecture.blocks))
    assert 0 < len(stay) < len(blocks)

    def skip(module: Any, args: Any, kwargs: Any, result: Any) -> Any:
        hidden = args[0] if args else kwargs["hidden_states"]
        return (hidden, *result[1:]) if isinstance(result, tuple) else hidden

    before = said(dense)
    for index in set(range(len(blocks))) - set(stay):
        blocks[index].register_forward_hook(skip, with_kwargs=True)
    smaller = bench.result()
    assert smaller.architecture.n_blocks == len(stay)
    assert torch.allclose(said(smaller.network), said(dense), atol=1e-3, rtol=1e-3)
    bench.restore()
    assert torch.equal(said(bench.model.network), before), "the resident model runs all of its blocks again"


@pytest.mark.parametrize("family", WIDTH)
def test_a_narrower_model_is_the_dense_one_with_zeros(family: str) -> None:
    bench, model = finished(family, "width"), opened(family)
    made = bench.made
    assert isinstance(made, LearntSmaller)
    projections = {p.name: p for p in model.architecture.projections}
    for layer, kept in zip(made.layout.layers, made.layout.kept, strict=True):
        falls = torch.ones(layer.units, dtype=torch.bool)
        falls[kept] = False
        channels = layer.channels(falls.nonzero().flatten())
        weight(model.network, projections[layer.consumer.name])[:, channels] = 0
    smaller = bench.result().network
    assert type(smaller) is type(model.network)
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in model.network.parameters())
    assert torch.allclose(said(smaller), said(model.network), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("family", "field"), [("qwen3_next", "moe_intermediate_size"), ("mixtral", "intermediate_size")]
)
def test_all_experts_of_all_blocks_keep_as_many_neurons_but_others(family: str, field: str) -> None:
    bench = finished(family, "width")
    made = bench.made
    assert isinstance(made, LearntSmaller)
    experts = [
        kept for of, kept in zip(made.layout.layers, made.layout.kept, strict=True) if of.consumer.expert is not None
    ]
    (count,) = {len(kept) for kept in experts}
    assert count == getattr(bench.result().network.config, field) < getattr(bench.model.network.config, field)
    assert len({tuple(kept.tolist()) for kept in experts}) > 1


def test_blocks_whose_keys_and_values_others_use_are_never_left_out() -> None:
    bench = finished("gemma3n_text", "depth")
    made = bench.made
    assert isinstance(made, LearntSmaller)
    stay = stays(made.layout.layers, made.layout.sizes)
    assert {0, 1} <= set(stay), "of the sliding and of the full attention"
    assert bench.result().network.config.num_kv_shared_layers == sum(index >= 2 for index in stay)


def test_lists_of_a_configuration_speak_of_the_blocks_that_stay() -> None:
    model = opened("gpt_neo")
    config = build("gpt_neo").config
    kinds = list(config.attention_layers)
    shorten(model, config, (1, 3))
    assert config.attention_layers == [kinds[1], kinds[3]]
    assert type(config).from_dict(config.to_dict()).attention_layers == [kinds[1], kinds[3]]


def test_what_no_configuration_can_say_is_one_line() -> None:
    layers = learn(opened("falcon_mamba")).layers
    assert {layer.units for layer in layers} == {1}, "its states are twice as wide as the model, whatever is said"
    with pytest.raises(SecateurError, match="use depth") as caught:
        finished("falcon_mamba", "width")
    assert "\n" not in str(caught.value)


def test_a_norm_of_what_is_read_makes_up_for_the_channels_that_fell() -> None:
    bench = finished("bitnet", "width")
    resident, dense = said(bench.model.network), build("bitnet")
    smaller = bench.result().network
    assert torch.allclose(said(smaller), resident, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(resident, said(dense), atol=0.1)
    inner, before = smaller.config.intermediate_size, dense.config.intermediate_size
    assert inner < before
    weights = [of.get_submodule("model.layers.0.mlp.ffn_sub_norm").weight for of in (smaller, dense)]
    ratios = weights[0][:, None] / weights[1][None]
    assert bool(((ratios - (before / inner) ** 0.5).abs() < 1e-5).any(1).all()), "larger by what the mean lost"


FIELDS = {"rwkv": "intermediate_size", "xmod": "intermediate_size", "moshi": "ffn_dim", "prophetnet": "decoder_ffn_dim"}


@pytest.mark.parametrize("family", FIELDS)
def test_neurons_that_names_do_not_tell_are_stated_by_their_field(family: str) -> None:
    learnt = learn(opened(family))
    neurons = {of.group for of in learnt.layers if of.sublayer == "mlp" and of.units > 1}
    assert [knob.fields for knob in learnt.knobs if neurons & set(knob.units)] == [(("", FIELDS[family]),)]


def test_blocks_that_share_a_layer_lose_it_together() -> None:
    model = opened("zamba")
    knobs = {name: knob for knob in learn(model).knobs for _, name in knob.fields}
    assert {"intermediate_size", "num_attention_heads"} <= set(knobs)
    assert knobs["intermediate_size"].base == 48


def test_a_block_that_no_pass_calls_is_one_line() -> None:
    with pytest.raises(SecateurError, match=r"nothing of block \d is called") as caught:
        learn(opened("mllama"))
    assert "\n" not in str(caught.value)
