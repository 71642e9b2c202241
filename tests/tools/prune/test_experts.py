"""Experts that fall: scores are those of plain loops, and the smaller model is one that transformers alone can load."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from tests.tools.conftest import random_windows
from tests.tools.elsewhere import SAME, run_elsewhere
from tests.tools.mixtures import BLOCKS, CONFIGS, mixture
from tools.deliver.save import save_model
from tools.deliver.verify import verify_saved
from tools.expression import EXPERTS, parse
from tools.io.errors import SecateurError, UsageError
from tools.model.checkpoint import Model, open_model
from tools.model.mixtures import mixtures_of
from tools.model.sparsity import sparsities
from tools.prune.bench import Bench
from tools.prune.experts.mixtures import choose, staying
from tools.prune.experts.way import Fewer
from tools.recipe import Allocation, Compensation, Experts, Recipe, Structured
from tools.recipe.methods import METHODS, method
from tools.statistics.collect import collect
from tools.statistics.routing import routed

WINDOWS = random_windows(3, 16)
FAMILIES = tuple(CONFIGS)
NAMES = ("frequency", "reap")


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Model:
    """Every family with experts in turn."""
    return mixture(request.param)


@pytest.fixture
def bench(model: Model) -> Bench:
    return Bench(model, WINDOWS, WINDOWS)


def said(network: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = network(WINDOWS.ids[:2], use_cache=False).logits
    return logits


def by_loops(network: Any, block: int, x: torch.Tensor) -> tuple[list[float], list[float]]:
    """Frequency and REAP of the experts of a block for tokens (n, width), one token and one expert at a time."""
    mlp, config = network.model.layers[block].mlp, network.config
    router, up, down = mlp.gate.weight, mlp.experts.gate_up_proj, mlp.experts.down_proj
    count, total = [0] * len(router), [0.0] * len(router)
    for token in x:
        chances = torch.tensor([float(row @ token) for row in router]).softmax(0)
        chosen = sorted(range(len(router)), key=lambda e: -float(chances[e]))[: config.num_experts_per_tok]
        whole = sum(float(chances[e]) for e in chosen) if getattr(config, "norm_topk_prob", True) else 1.0
        for e in chosen:
            gate, value = (up[e] @ token).chunk(2)
            output = down[e] @ (torch.nn.functional.silu(gate) * value)
            count[e] += 1
            total[e] += float(chances[e]) / whole * float(output.norm())
    return [c / len(x) for c in count], [t / c if c else 0.0 for t, c in zip(total, count, strict=True)]


def catch(caught: list[torch.Tensor], module: Any, args: tuple[torch.Tensor]) -> None:
    """A hook that keeps the tokens (n, width) that enter a module."""
    caught.append(args[0].flatten(0, 1))


def test_scores_are_those_of_plain_loops_over_tokens_and_experts(model: Model) -> None:
    inputs: dict[int, list[torch.Tensor]] = {block: [] for block in BLOCKS[model.name]}
    for block, caught in inputs.items():
        mlp = model.network.get_submodule(f"model.layers.{block}.mlp")
        mlp.register_forward_pre_hook(partial(catch, caught))
    found = routed(model, WINDOWS.ids.split(2))
    assert list(found) == [f"model.layers.{block}.mlp.experts" for block in BLOCKS[model.name]]
    for block, used in zip(inputs, found.values(), strict=True):
        frequency, reap = by_loops(model.network, block, torch.cat(inputs[block]))
        torch.testing.assert_close(used[0], torch.tensor(frequency, dtype=torch.float64))
        torch.testing.assert_close(used[1], torch.tensor(reap, dtype=torch.float64), rtol=1e-4, atol=1e-6)
        assert float(used[0].sum()) == pytest.approx(model.network.config.num_experts_per_tok)


def test_measuring_leaves_no_hook_behind(model: Model) -> None:
    routed(model, [WINDOWS.ids])
    assert not any(module._forward_pre_hooks for module in model.network.modules())


def test_an_expert_that_no_token_reaches_falls_first() -> None:
    used = torch.tensor([[0.5, 0.0, 0.5, 1.0, 0.1, 0.1], [3.0, 0.0, 1.0, 2.0, 5.0, 4.0]], dtype=torch.float64)
    for metric, kept in (("frequency", [0, 2, 3]), ("reap", [0, 4, 5])):
        assert choose(parse(metric, EXPERTS), {"mixture": used}, 3)["mixture"].tolist() == kept


@given(units=st.integers(2, 128), sparsity=st.floats(0.01, 0.99), data=st.data())
def test_what_falls_is_what_was_asked_for_and_less_than_one_expert_more(
    units: int, sparsity: float, data: st.DataObject
) -> None:
    chosen = data.draw(st.integers(1, units))
    if units - sparsity * units < chosen - 1e-6:
        with pytest.raises(SecateurError, match=r"cannot be removed by experts: every token goes through \d+ of \d+"):
            staying(units, chosen, sparsity)
    elif units - sparsity * units > chosen + 1:
        gone = (units - staying(units, chosen, sparsity)) / units
        assert sparsity - 1e-8 <= gone < sparsity + 1 / units


def test_exact_shares_are_met_exactly() -> None:
    assert staying(8, 2, 0.5) == 4
    assert staying(60, 4, 0.25) == 45
    assert staying(10, 1, 0.3) == 7


def plainly_without(network: Any, blocks: tuple[int, ...], kept: dict[str, torch.Tensor]) -> None:
    """Write a mixture of only these experts in place of the module, by the papers' formulas and nothing of ours."""
    config = network.config
    for block in blocks:
        mlp = network.model.layers[block].mlp
        stay = kept[f"model.layers.{block}.mlp.experts"].tolist()

        def forward(hidden: torch.Tensor, mlp: Any = mlp, stay: list[int] = stay) -> torch.Tensor:
            out = torch.zeros_like(hidden)
            for place in torch.cartesian_prod(*(torch.arange(n) for n in hidden.shape[:2])):
                x = hidden[tuple(place)]
                chances = (mlp.gate.weight[stay] @ x).softmax(0)
                top = chances.topk(config.num_experts_per_tok)
                whole = top.values.sum() if getattr(config, "norm_topk_prob", True) else 1.0
                for value, index in zip(top.values, top.indices, strict=True):
                    e = stay[int(index)]
                    gate, up = (mlp.experts.gate_up_proj[e] @ x).chunk(2)
                    neurons = torch.nn.functional.silu(gate) * up
                    out[tuple(place)] += value / whole * (mlp.experts.down_proj[e] @ neurons)
                if hasattr(mlp, "shared_expert"):
                    out[tuple(place)] += torch.sigmoid(mlp.shared_expert_gate(x)) * mlp.shared_expert(x)
            return out

        mlp.forward = forward


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_measured_and_what_is_measured_is_the_model_without_the_experts(name: str, bench: Bench) -> None:
    model = bench.model
    dense = said(model.network)
    before = {n: p.clone() for n, p in model.network.state_dict().items()}
    config = model.network.config.to_dict()
    recipe = method(name, 0.5)
    assert bench.divergence(recipe, 32).sparsity == pytest.approx(0.5)
    bench.restore()
    bench.finish(recipe)
    kept = bench.snapshot()
    assert isinstance(kept.made, Fewer)
    stay = kept.made.kept
    small = said(model.network)
    twin = mixture(model.name)
    plainly_without(twin.network, BLOCKS[model.name], dict(stay))
    torch.testing.assert_close(small, said(twin.network), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(small, dense)
    for of in mixtures_of(model):
        assert of.units == 3
        router = model.network.get_submodule(of.router).weight
        assert torch.equal(router, before[f"{of.router}.weight"][stay[of.experts]])
    assert bench.result().network is model.network
    bench.restore()
    assert torch.equal(said(model.network), dense), "a trace of the candidate is left"
    assert model.network.config.to_dict() == config
    assert all(torch.equal(p, before[n]) for n, p in model.network.state_dict().items())
    bench.load(kept)
    assert torch.equal(said(model.network), small)
    assert bench.perplexity(WINDOWS, "propagated").sparsity == pytest.approx(0.5)
    bench.restore()
    assert bench.perplexity(WINDOWS, "dense").sparsity == 0.0


def test_the_two_methods_and_other_patterns_take_turns_on_one_model(bench: Bench) -> None:
    values = [bench.divergence(method(name, 0.5), 32).value for name in ("frequency", "reap", "frequency")]
    assert values[0] == values[2]
    bench.divergence(method("wanda", 0.5), 32)
    assert mixtures_of(bench.model)[0].units == 6
    assert bench.divergence(method("frequency", 0.5), 32).value == values[0]


def test_a_formula_may_combine_both_scores(bench: Bench) -> None:
    recipe = Recipe(pattern=Experts(), sparsity=0.5, metric="frequency * reap")
    assert bench.divergence(recipe, 32).sparsity == pytest.approx(0.5)
    with pytest.raises(UsageError, match="is not known"):
        bench.probe(recipe.model_copy(update={"metric": "W * X"}))


def test_statistics_are_kept_and_read_again(model: Model, tmp_path: Path) -> None:
    needs = frozenset({"routing"})
    first = collect(model, WINDOWS, needs=needs, cache=tmp_path)
    again = collect(model, WINDOWS, needs=needs, cache=tmp_path)
    assert (first.reused, again.reused) == (False, True)
    assert first.routing.keys() == again.routing.keys()
    assert all(torch.equal(first.routing[name], again.routing[name]) for name in first.routing)


def test_a_model_with_all_its_experts_is_no_success(bench: Bench) -> None:
    recipe = method("reap", 0.5)
    bench.finish(recipe)
    assert bench.proven(bench.prepare(recipe)) == pytest.approx(0.5)
    bench.restore()
    with pytest.raises(SecateurError, match=r"planned sparsity 0\.5000, measured 0\.0000"):
        bench.proven(bench.prepare(recipe))


def test_every_family_loads_where_this_project_is_not_installed(tmp_path: Path) -> None:
    tokenizer = open_model("tiny", cache=tmp_path).tokenizer
    for family in FAMILIES:
        model = mixture(family, tokenizer, vocab_size=len(tokenizer))
        bench = Bench(model, WINDOWS, None)
        recipe = method("reap", 0.4)
        bench.finish(recipe)
        logits = said(model.network)
        generated = model.network.generate(WINDOWS.ids[:2], max_new_tokens=5, do_sample=False)
        save_model(bench.result(), tmp_path / family, recipe=recipe, card="")
        written = json.loads((tmp_path / family / "config.json").read_text())
        assert {written[field] for field in ("num_experts", "num_local_experts") if field in written} == {3}
        assert not list((tmp_path / family).glob("*.py"))
        asked = {"ids": WINDOWS.ids[:2].contiguous(), "logits": logits, "generated": generated}
        save_file(asked, tmp_path / f"{family}.safetensors")
        expected = sparsities(bench.result())
        verify_saved(
            tmp_path / family, expected_sparsity=expected, probe=WINDOWS.ids[:1], logits=logits[:1], dtype="float32"
        )
    run_elsewhere(SAME, tmp_path, FAMILIES)


def test_blocks_without_experts_and_shared_experts_stay_as_they_are() -> None:
    model = mixture("qwen2_moe")
    before = {n: p.clone() for n, p in model.network.state_dict().items()}
    bench = Bench(model, WINDOWS, None)
    bench.finish(method("frequency", 0.6))
    after = model.network.state_dict()
    changed = {n for n, p in after.items() if p.shape != before[n].shape or not torch.equal(p, before[n])}
    parts = ("gate.weight", "experts.gate_up_proj", "experts.down_proj")
    assert changed == {f"model.layers.{block}.mlp.{part}" for block in (0, 2) for part in parts}


def test_a_switched_on_balance_loss_still_fits() -> None:
    bench = Bench(mixture("mixtral", output_router_logits=True), WINDOWS, None)
    bench.finish(method("reap", 0.5))
    with torch.no_grad():
        assert bench.model.network(WINDOWS.ids, labels=WINDOWS.ids).aux_loss.isfinite()


@pytest.mark.parametrize("sparsity", [0.7, 0.99])
def test_too_few_experts_are_one_line(sparsity: float, bench: Bench) -> None:
    chosen = bench.model.network.config.num_experts_per_tok
    with pytest.raises(SecateurError, match=f"goes through {chosen} of 6 experts, so .* left at the least") as caught:
        bench.probe(method("reap", sparsity))
    assert "\n" not in str(caught.value)


def test_a_model_without_experts_is_one_line(trained: Model) -> None:
    with pytest.raises(
        SecateurError, match="LlamaForCausalLM has no experts that are known here: use --pattern unstructured"
    ) as caught:
        Bench(trained, WINDOWS, None).probe(method("frequency", 0.5))
    assert "\n" not in str(caught.value)
    with pytest.raises(SecateurError, match="has no experts"):
        mixtures_of(mixture("qwen2_moe", mlp_only_layers=[0, 1, 2]))


@pytest.mark.parametrize(
    "wrong",
    [{"allocation": Allocation(expression="skew", width=0.1)}, {"compensation": Compensation(kind="obs")}],
)
def test_experts_are_neither_allocated_nor_compensated(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="experts"):
        Recipe(pattern=Experts(), sparsity=0.5, metric="reap", **wrong)


def test_methods_for_experts_and_for_weights_do_not_mix() -> None:
    assert method("reap", 0.3).pattern == method("frequency", 0.3, Experts()).pattern == Experts()
    for name in set(METHODS) - set(NAMES):
        with pytest.raises(
            UsageError, match=r"for experts use frequency or reap|removes structures: leave the pattern out"
        ):
            method(name, 0.3, Experts())
    with pytest.raises(UsageError, match="reap removes experts: leave the pattern out"):
        method("reap", 0.3, Structured(kind="width"))
