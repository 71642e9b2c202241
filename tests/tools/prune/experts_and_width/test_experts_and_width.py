"""Experts and width together: what cutting experts by hand, and then what is left, makes of a mixture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.families.tiny import VOCABULARY, build
from tests.tools.conftest import random_windows
from tests.tools.elsewhere import SAME, run_elsewhere
from tests.tools.mixtures import mixture
from tools.deliver.save import save_model
from tools.io.errors import SecateurError, UsageError
from tools.model.architecture import describe
from tools.model.checkpoint import Model, open_model
from tools.model.mixtures import mixtures_of
from tools.model.sparsity import sparsities
from tools.prune.bench import Bench
from tools.prune.experts_and_width.pattern import ExpertsAndWidth
from tools.prune.experts_and_width.smaller import Smaller
from tools.prune.experts_and_width.way import WAY, Both
from tools.prune.reach import reach_of
from tools.recipe import Allocation, Compensation, Experts, Recipe, Structured, parse_pattern
from tools.recipe.methods import method, names_of
from tools.text.windows import Windows

WINDOWS = random_windows(3, 32)
FAMILIES = ("mixtral", "qwen2_moe", "qwen3_moe")
SPARSITY = 0.4
BOTH = ExpertsAndWidth(share=0.5, multiple=4)


def recipe(kind: str = "none", **changes: Any) -> Recipe:
    pattern = BOTH.model_copy(update=changes)
    compensation = Compensation.model_validate({"kind": kind})
    return Recipe(pattern=pattern, sparsity=SPARSITY, metric="W * X", compensation=compensation)


def said(network: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = network(WINDOWS.ids[:2], use_cache=False).logits
    return logits


def prepared(bench: Bench, of: Recipe) -> Both:
    ready = bench.prepare(of)
    assert isinstance(ready, Both)
    return ready


def by_hand(family: str, ready: Both, of: Recipe) -> Model:
    """Experts cut by one bench and written down, width by another that knows of no experts that fell."""
    first = Bench(mixture(family), WINDOWS, None)
    count = mixtures_of(first.model)[0].units
    stay = len(next(iter(ready.kept.values())))
    first.finish(Recipe(pattern=Experts(), sparsity=1 - stay / count, metric="reap"))
    fewer = first.result()
    network = type(fewer.network)(type(fewer.network.config).from_dict(fewer.network.config.to_dict())).eval()
    network.load_state_dict(fewer.network.state_dict())
    small = Model(family, Path("nowhere"), network, fewer.tokenizer, describe(network), family, "float32", "cpu")
    second = Bench(small, WINDOWS, None)
    assert ready.width is not None
    width = ready.width.recipe
    assert (width.metric, width.compensation) == (of.metric, of.compensation)
    second.finish(width)
    return second.result()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["none", "least_squares"])
def test_it_is_what_cutting_experts_and_then_width_makes(family: str, kind: str) -> None:
    bench, of = Bench(mixture(family), WINDOWS, None), recipe(kind)
    bench.finish(of)
    result = bench.result()
    expected = by_hand(family, prepared(bench, of), of)
    assert result.network.config.to_dict() == expected.network.config.to_dict()
    found, wanted = result.network.state_dict(), expected.network.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in found)
    assert torch.allclose(said(bench.model.network), said(result.network), atol=1e-4, rtol=1e-4)


def test_the_configuration_has_as_many_experts_and_neurons_as_were_planned() -> None:
    bench = Bench(mixture("qwen3_moe"), WINDOWS, None)
    ready = prepared(bench, recipe())
    bench.finish(recipe())
    assert ready.width is not None
    stay, config = len(next(iter(ready.kept.values()))), bench.result().network.config
    neurons = {n for of, n in zip(ready.width.layers, ready.width.sizes, strict=True) if of.consumer.expert is not None}
    assert config.num_experts == stay == 3, "a fifth of all that can fall is nearly half of the experts"
    assert {config.moe_intermediate_size} == neurons
    assert config.moe_intermediate_size < 24


@pytest.mark.parametrize("family", FAMILIES)
def test_the_share_is_of_what_falls_of_all_that_could_counted_once(family: str) -> None:
    model = mixture(family)
    routers = sum(model.network.get_parameter(name).numel() for of in mixtures_of(model) for name in of.routing)
    reach = reach_of(model, BOTH).weights
    assert reach == model.architecture.size + routers
    dense = sum(p.numel() for p in model.network.parameters())
    bench = Bench(model, WINDOWS, None)
    bench.finish(recipe())
    assert SPARSITY - 1e-9 <= bench.share() < SPARSITY + 0.1
    gone = dense - sum(p.numel() for p in bench.result().network.parameters())
    assert bench.share() == pytest.approx(gone / reach, abs=1e-6), "all else that fell would be biases"
    assert bench.share() == pytest.approx(bench.prepare(recipe()).share)
    assert bench.gone() == pytest.approx(bench.prepare(recipe()).sparsity)


@pytest.mark.parametrize("family", ["gpt_oss", "deepseek_v3", "longcat_flash"])
def test_biases_groups_of_experts_and_slices_of_none_are_no_hindrance(family: str) -> None:
    network = build(family)
    model = Model(family, Path("nowhere"), network, None, describe(network), family, "float32", "cpu")  # type: ignore[arg-type]
    ids = torch.randint(8, VOCABULARY, (4, 32), generator=torch.Generator().manual_seed(0))
    bench = Bench(model, Windows(ids, "random", "random", "random", (0, 32, 64, 96)), None)
    dense = said(network)
    for wish in (recipe("least_squares", share=0.3), recipe(share=0.3, by="frequency")):
        of = wish.model_copy(update={"sparsity": 0.3})
        bench.finish(of)
        result = bench.result()
        assert prepared(bench, of).kept
        assert bench.share() >= 0.3
        assert torch.allclose(said(network), said(result.network), atol=1e-3, rtol=1e-3)
        assert all(0 <= share <= 1 for share in sparsities(result).values())
        bench.restore()
        assert torch.equal(said(network), dense)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_every_bit_comes_back_and_a_snapshot_too(share: float) -> None:
    bench = Bench(mixture("qwen2_moe"), WINDOWS, WINDOWS)
    model, of = bench.model, recipe("least_squares", share=share).model_copy(update={"sparsity": 0.3})
    dense, config = said(model.network), model.network.config.to_dict()
    before = {n: p.clone() for n, p in model.network.state_dict().items()}
    first = bench.divergence(of, 64)
    bench.restore()
    assert all(torch.equal(p, before[n]) for n, p in model.network.state_dict().items())
    bench.finish(of)
    kept, small = bench.snapshot(), said(model.network)
    assert isinstance(kept.made, Smaller)
    assert not torch.allclose(small, dense)
    bench.divergence(method("wanda", 0.5), 64)
    bench.restore()
    assert torch.equal(said(model.network), dense)
    assert model.network.config.to_dict() == config
    assert all(torch.equal(p, before[n]) for n, p in model.network.state_dict().items())
    bench.load(kept)
    assert torch.equal(said(model.network), small)
    assert bench.divergence(of, 64).value == first.value


def test_methods_of_one_side_fell_that_side_alone_and_all_of_it() -> None:
    bench = Bench(mixture("qwen3_moe"), WINDOWS, WINDOWS)
    for name in BOTH.references:
        of = method(name, 0.25, BOTH)
        ready = prepared(bench, of)
        assert name in names_of(of)
        assert bool(ready.kept) == (name != "wanda_sp")
        assert bench.divergence(of, 64).sparsity >= 0.25
        assert ready.width is None or name == "wanda_sp"
    assert method("reap", 0.3, BOTH).pattern == BOTH.model_copy(update={"share": 1.0, "by": "reap"})
    with pytest.raises(UsageError, match="flap removes structures"):
        method("flap", 0.3, BOTH)


def test_experts_by_frequency_are_others_than_by_reap() -> None:
    bench = Bench(mixture("mixtral"), WINDOWS, WINDOWS)
    kept = [prepared(bench, recipe(by=by)).kept for by in ("reap", "frequency")]
    assert any(not torch.equal(kept[0][name], kept[1][name]) for name in kept[0])


def test_the_search_form_scores_every_expert_by_what_it_read_in_the_dense_model() -> None:
    bench = Bench(mixture("mixtral"), WINDOWS, WINDOWS)
    ready = prepared(bench, recipe())
    assert ready.width is not None
    for name, dense in ready.twins.items():
        if ".experts." in name:
            number = int(name.split(".experts.")[1].split(".")[0])
            stay = ready.kept[f"{name.split('.experts.')[0]}.experts"].tolist()
            assert dense == name.replace(f".experts.{number}", f".experts.{stay[number]}")
        else:
            assert dense == name
    assert any(name != dense for name, dense in ready.twins.items())


def test_explicit_rates_and_formulas_say_how_attention_and_mlps_compare() -> None:
    bench = Bench(mixture("qwen3_moe"), WINDOWS, WINDOWS)
    sizes = {}
    for name, rates in (("attention", (0.9, 0.0)), ("mlp", (0.0, 0.9))):
        vector = tuple(rates[unit % 2] for unit in range(8))
        allocation = Allocation(expression=None, vector=vector, granularity="layer")
        ready = prepared(bench, recipe().model_copy(update={"allocation": allocation}))
        assert ready.width is not None
        sizes[name] = sum(n for of, n in zip(ready.width.layers, ready.width.sizes, strict=True) if of.head)
    assert sizes["attention"] < sizes["mlp"]
    formula = Allocation(expression="loss", width=0.1, granularity="layer")
    assert bench.divergence(recipe().model_copy(update={"allocation": formula}), 64).sparsity >= SPARSITY


def test_what_cannot_be_is_one_line(trained: Model) -> None:
    with pytest.raises(SecateurError, match="has no experts that are known here") as caught:
        WAY.require(trained, 0.3)
    assert "\n" not in str(caught.value)
    bench = Bench(mixture("qwen3_moe"), WINDOWS, None)
    for share, says in (
        (1.0, "100 % of what falls cannot be experts: every token goes through 3 of 6 experts, so"),
        (0.0, "would be left at the least"),
    ):
        of = recipe(share=share).model_copy(update={"sparsity": 0.95})
        with pytest.raises(SecateurError, match=says) as caught:
            bench.prepare(of)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="cannot be timed in parts: give --sparsity"):
        BOTH.counting(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"experts\+width"):
        recipe("bias")


def test_it_goes_through_json_and_is_written_by_its_name() -> None:
    assert parse_pattern("experts+width") == ExpertsAndWidth()
    assert parse_pattern("experts+width").in_multiples(8) == ExpertsAndWidth(multiple=8)
    assert Recipe.model_validate_json(recipe(share=0.25).model_dump_json()) == recipe(share=0.25)
    assert str(BOTH) == "experts+width (50 % of it experts by REAP)"
    assert str(BOTH.only("experts")) == "experts+width (experts alone by REAP)"
    assert BOTH.only("experts") == BOTH.model_copy(update={"share": 1.0})
    assert BOTH.width == Structured(kind="width", multiple=4)


def test_it_loads_where_this_project_is_not_installed(tmp_path: Path) -> None:
    tokenizer: Any = open_model("tiny", cache=tmp_path).tokenizer
    for family in FAMILIES:
        bench = Bench(mixture(family, tokenizer, vocab_size=len(tokenizer)), WINDOWS, None)
        bench.finish(recipe("least_squares"))
        network = bench.result().network
        save_model(bench.result(), tmp_path / family, recipe=recipe("least_squares"), card="")
        written = json.loads((tmp_path / family / "config.json").read_text())
        assert {written[field] for field in ("num_experts", "num_local_experts") if field in written} <= {3, 4}
        assert not list((tmp_path / family).glob("*.py"))
        generated = network.generate(WINDOWS.ids[:2], max_new_tokens=5, do_sample=False)
        asked = {"ids": WINDOWS.ids[:2].contiguous(), "logits": said(network), "generated": generated}
        save_file(asked, tmp_path / f"{family}.safetensors")
    run_elsewhere(SAME, tmp_path, FAMILIES)
