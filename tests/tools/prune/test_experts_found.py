"""Whole experts of families that no entry names: every score and every output is that of a plain loop over tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from torch import nn

from tests.families.tiny import build, tiny_config
from tests.tools.conftest import random_windows
from tests.tools.mixtures import CONFIGS
from tools.io.errors import SecateurError
from tools.model.architecture import describe
from tools.model.checkpoint import Model
from tools.model.mixtures import mixtures_of
from tools.prune.bench import Bench
from tools.prune.experts.mixtures import staying, stays
from tools.prune.experts.way import Fewer
from tools.prune.structures.learnt.smaller import LearntSmaller
from tools.recipe import Structured
from tools.recipe.methods import method
from tools.statistics.routing import routed

WINDOWS = random_windows(3, 16)
Parts = list[tuple[int, torch.Tensor]]
"""Experts that a token goes through, and what each adds to it."""


class Listed(nn.Module):
    """A mixture whose experts are modules of a list, as code beside older checkpoints has it."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width, inner, self.top_k = config.hidden_size, config.intermediate_size, config.num_experts_per_tok
        self.gate = nn.Linear(width, config.num_local_experts, bias=False)
        each = (nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width)) for _ in range(99))
        self.experts = nn.ModuleList(expert for _, expert in zip(range(config.num_local_experts), each, strict=False))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        flat = hidden.flatten(0, -2)
        weights, chosen = self.gate(flat).softmax(-1).topk(self.top_k, dim=-1)
        out = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            token, place = torch.where(chosen == number)
            if len(token):
                out.index_add_(0, token, expert(flat[token]) * weights[token, place, None])
        return out.view_as(hidden)


class ListedForCausalLM(tf.MixtralForCausalLM):
    """Mixtral with these mixtures."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        for layer in self.model.layers:
            layer.mlp = Listed(config)


def of_list(mlp: Any, x: torch.Tensor, stay: Sequence[int], config: Any) -> Parts:
    chances = (mlp.gate.weight[list(stay)] @ x).softmax(0)
    top = sorted(range(len(stay)), key=lambda i: -float(chances[i]))[: config.num_experts_per_tok]
    return [(stay[i], chances[i] * mlp.experts[stay[i]](x)) for i in top]


def of_gpt_oss(mlp: Any, x: torch.Tensor, stay: Sequence[int], config: Any) -> Parts:
    held, router = mlp.experts, mlp.router
    logits = [float(router.weight[e] @ x + router.bias[e]) for e in stay]
    top = sorted(range(len(stay)), key=lambda i: -logits[i])[: config.num_experts_per_tok]
    chances, found = torch.tensor([logits[i] for i in top]).softmax(0), []
    for chance, i in zip(chances, top, strict=True):
        e = stay[i]
        both = x @ held.gate_up_proj[e] + held.gate_up_proj_bias[e]
        gate, up = (
            both[0::2].clamp(max=config.swiglu_limit),
            both[1::2].clamp(-config.swiglu_limit, config.swiglu_limit),
        )
        neurons = (up + 1) * gate * torch.sigmoid(config.swiglu_alpha * gate)
        found.append((e, chance * (neurons @ held.down_proj[e] + held.down_proj_bias[e])))
    return found


def gated(held: Any, e: int, x: torch.Tensor) -> torch.Tensor:
    gate, up = (held.gate_up_proj[e] @ x).chunk(2)
    out: torch.Tensor = held.down_proj[e] @ (nn.functional.silu(gate) * up)
    return out


def of_deepseek(mlp: Any, x: torch.Tensor, stay: Sequence[int], config: Any) -> Parts:
    score = {e: float(torch.sigmoid(mlp.gate.weight[e] @ x)) for e in stay}
    better = {e: score[e] + float(mlp.gate.e_score_correction_bias[e]) for e in stay}
    whole, n = len(mlp.experts.gate_up_proj), config.n_group
    groups = [[e for e in stay if e * n // whole == g] for g in range(n)]
    best = sorted(groups, key=lambda of: -sum(sorted((better[e] for e in of), reverse=True)[:2]))
    inside = [e for of in best[: config.topk_group] for e in of]
    top = sorted(inside, key=lambda e: -better[e])[: config.num_experts_per_tok]
    total = sum(score[e] for e in top) if config.norm_topk_prob else 1.0
    return [(e, score[e] / total * config.routed_scaling_factor * gated(mlp.experts, e, x)) for e in top]


def of_qwen3_next(mlp: Any, x: torch.Tensor, stay: Sequence[int], config: Any) -> Parts:
    chances = (mlp.gate.weight[list(stay)] @ x).softmax(0)
    top = sorted(range(len(stay)), key=lambda i: -float(chances[i]))[: config.num_experts_per_tok]
    total = sum(float(chances[i]) for i in top) if config.norm_topk_prob else 1.0
    return [(stay[i], chances[i] / total * gated(mlp.experts, stay[i], x)) for i in top]


def of_llama4(mlp: Any, x: torch.Tensor, stay: Sequence[int], config: Any) -> Parts:
    held, logits = mlp.experts, {e: mlp.router.weight[e] @ x for e in stay}
    found = []
    for e in sorted(stay, key=lambda e: -float(logits[e]))[: config.num_experts_per_tok]:
        gate, up = (torch.sigmoid(logits[e]) * x @ held.gate_up_proj[e]).chunk(2)
        found.append((e, (up * nn.functional.silu(gate)) @ held.down_proj[e]))
    return found


def of_jetmoe(mlp: Any, x: torch.Tensor, stay: Sequence[int], config: Any) -> Parts:
    logits = torch.stack([mlp.router.layer.weight[e] @ x for e in stay])
    top = logits.topk(config.num_experts_per_tok)
    found = []
    for chance, i in zip(top.values.softmax(0), top.indices.tolist(), strict=True):
        gate, up = (mlp.input_linear.weight[stay[i]] @ x).chunk(2)
        found.append((stay[i], chance * (mlp.output_linear.weight[stay[i]] @ (nn.functional.silu(gate) * up))))
    return found


def nothing(mlp: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(x)


Loop = Callable[[Any, torch.Tensor, Sequence[int], Any], Parts]
KINDS: dict[str, tuple[str, Loop, Callable[[Any, torch.Tensor], torch.Tensor]]] = {
    "list": ("mlp", of_list, nothing),
    "gpt_oss": ("mlp", of_gpt_oss, nothing),
    "deepseek_v3": ("mlp", of_deepseek, lambda mlp, x: mlp.shared_experts(x)),
    "qwen3_next": ("mlp", of_qwen3_next, lambda mlp, x: mlp.shared_expert_gate(x).sigmoid() * mlp.shared_expert(x)),
    "llama4_text": ("feed_forward", of_llama4, lambda mlp, x: mlp.shared_expert(x)),
    "jetmoe": ("mlp", of_jetmoe, lambda mlp, x: mlp.bias),
}
"""Where the mixture is in a block, what its experts add to a token, and what it adds besides."""


def network_of(kind: str) -> Any:
    """Random, with all that a router has to be reckoned with."""
    torch.manual_seed(0)
    if kind == "list":
        config = CONFIGS["mixtral"].from_dict(CONFIGS["mixtral"].to_dict())
        network: Any = ListedForCausalLM(config).eval().requires_grad_(False)
    elif kind == "deepseek_v3":
        config = tiny_config(kind)
        config.n_routed_experts, config.n_group, config.topk_group = 12, 2, 1
        network = tf.AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    else:
        network = build(kind)
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        fresh = kind in ("list", "deepseek_v3") and tensor.dim() > 1
        if fresh or "correction" in name or (tensor.dim() and "bias" in name and (".mlp." in name)):
            nn.init.normal_(tensor, std=0.2)
    return network


def model_of(kind: str) -> Model:
    network = network_of(kind)
    return Model(kind, Path("nowhere"), network, None, describe(network), kind, "float32", "cpu")


def blocks_with(model: Model, kind: str) -> dict[str, Any]:
    """The name of every mixture of an MLP -> the module around it."""
    child = f".{KINDS[kind][0]}"
    found = {}
    for of in mixtures_of(model):
        if child in of.experts:
            found[of.experts] = model.network.get_submodule(of.experts.partition(child)[0] + child)
    return found


def said(network: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = network(WINDOWS.ids[:2], use_cache=False).logits
    return logits


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Every kind of mixture in turn."""
    return str(request.param)


def test_scores_are_those_of_plain_loops(kind: str) -> None:
    model, caught = model_of(kind), dict[str, torch.Tensor]()
    mixtures, loop = blocks_with(model, kind), KINDS[kind][1]
    for name, mlp in mixtures.items():
        mlp.register_forward_pre_hook(lambda _, args, name=name: caught.update({name: args[0].flatten(0, -2)}))
    inputs = WINDOWS.ids[:2]
    said(model.network)
    found, seen = routed(model, [inputs]), dict(caught)
    assert mixtures.keys() <= found.keys()
    for name, mlp in mixtures.items():
        count, total = torch.zeros(2, mlp_units(model), dtype=torch.float64)
        for x in seen[name]:
            for e, added in loop(mlp, x, range(mlp_units(model)), model.network.config):
                count[e] += 1
                total[e] += float(added.norm())
        torch.testing.assert_close(found[name][0], count / inputs.numel())
        torch.testing.assert_close(found[name][1], total / count.clamp_min(1), rtol=1e-3, atol=1e-5)


def mlp_units(model: Model) -> int:
    return mixtures_of(model)[0].units


def test_what_is_left_is_the_model_without_the_experts(kind: str) -> None:
    model = model_of(kind)
    dense, before = said(model.network), {n: p.clone() for n, p in model.network.state_dict().items()}
    config, units = model.network.config.to_dict(), mlp_units(model)
    bench = Bench(model, WINDOWS, WINDOWS)
    recipe = method("reap", 0.3)
    bench.finish(recipe)
    assert bench.proven(bench.prepare(recipe)) == pytest.approx(1 - stays(model_of(kind), units, 0.3) / units)
    made = bench.snapshot().made
    assert isinstance(made, Fewer)
    kept, small = {name: of.tolist() for name, of in made.kept.items()}, said(model.network)
    assert mlp_units(model) == stays(model_of(kind), units, 0.3) < units
    built = type(model.network)(type(model.network.config).from_dict(model.network.config.to_dict())).eval()
    built.load_state_dict(model.network.state_dict(), strict=True)
    torch.testing.assert_close(said(built), small, rtol=1e-4, atol=1e-4)
    bench.restore()
    assert torch.equal(said(model.network), dense), "a trace of the candidate is left"
    assert model.network.config.to_dict() == config
    assert all(torch.equal(p, before[n]) for n, p in model.network.state_dict().items())
    if kind != "jetmoe":  # the experts of whose attention fall as well
        by_loops(model, kind, kept)
        torch.testing.assert_close(said(model.network), small, rtol=1e-3, atol=1e-3)
        assert not torch.allclose(small, dense, rtol=1e-3, atol=1e-3)


def by_loops(model: Model, kind: str, kept: dict[str, list[int]]) -> None:
    """Write a loop over the experts that stay in place of every mixture."""
    _, loop, besides = KINDS[kind]
    for name, mlp in blocks_with(model, kind).items():

        def forward(hidden: torch.Tensor, mlp: Any = mlp, stay: list[int] = kept[name]) -> Any:
            rows = hidden.flatten(0, -2)
            parts = [[a for _, a in loop(mlp, x, stay, model.network.config)] for x in rows]
            out = torch.stack([torch.stack(p).sum(0) + besides(mlp, x) for p, x in zip(parts, rows, strict=True)])
            shaped = out.view_as(hidden)
            return (shaped, None) if kind in ("gpt_oss", "llama4_text") else shaped

        mlp.forward = forward


def test_groups_lose_as_many_experts_each() -> None:
    assert staying(12, 4, 0.3, groups=2) == 8
    assert staying(12, 4, 0.4, groups=2) == 6
    with pytest.raises(SecateurError, match="best of 2 equal groups and needs 4 of 12 experts") as caught:
        staying(12, 4, 0.8, groups=2)
    assert "\n" not in str(caught.value)
    model = model_of("deepseek_v3")
    bench = Bench(model, WINDOWS, None)
    bench.finish(method("frequency", 0.3))
    made = bench.snapshot().made
    assert isinstance(made, Fewer)
    assert all(sum(e < 6 for e in of.tolist()) == len(of) // 2 == 4 for of in made.kept.values())


def test_a_router_that_is_not_what_it_is_taken_for_is_one_line() -> None:
    model = model_of("gpt_oss")
    router = model.network.model.layers[1].mlp.router
    plain = router.forward

    def next_ones(hidden: torch.Tensor) -> Any:
        logits, scores, chosen = plain(hidden)
        return logits, scores, (chosen + 1) % len(router.weight)

    router.forward = next_ones
    with pytest.raises(SecateurError, match="with fewer experts it is another model") as caught:
        Bench(model, WINDOWS, None).finish(method("frequency", 0.3))
    assert "\n" not in str(caught.value)


def test_experts_that_are_looked_up_by_the_token_stay() -> None:
    with pytest.raises(SecateurError, match="looks its experts up in a table"):
        mixtures_of(model_of("deepseek_v4"))


@pytest.mark.parametrize("kind_of_cut", ["width", "depth"])
def test_experts_of_a_list_get_narrower_and_their_blocks_fall(kind_of_cut: Any) -> None:
    model = model_of("list")
    dense = {p.name: p for p in model.architecture.projections}
    bench = Bench(model, WINDOWS, None)
    name = "shortgpt" if kind_of_cut == "depth" else "wanda_sp"
    bench.finish(method(name, 0.25, Structured(kind=kind_of_cut, multiple=4)))
    made, resident = bench.made, said(bench.model.network)
    assert isinstance(made, LearntSmaller)
    smaller = bench.result()
    torch.testing.assert_close(said(smaller.network), resident, atol=1e-4, rtol=1e-3)
    held = [p for p in smaller.architecture.projections if p.expert is not None]
    if kind_of_cut == "depth":
        assert 0 < smaller.architecture.n_blocks < model.architecture.n_blocks
        assert {p.size for p in held} == {p.size for p in dense.values() if p.expert is not None}
        return
    inner = smaller.network.config.intermediate_size
    assert {p.size for p in held} == {inner * model.network.config.hidden_size}
    assert inner < model.network.config.intermediate_size
    of_experts = [
        tuple(kept.tolist())
        for of, kept in zip(made.layout.layers, made.layout.kept, strict=True)
        if of.consumer.expert is not None
    ]
    assert {len(kept) for kept in of_experts} == {inner}
    assert len(set(of_experts)) > 1, "each expert loses others"
