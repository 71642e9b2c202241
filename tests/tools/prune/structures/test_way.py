"""Recipes for structures on a bench."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf

from tests.tools.conftest import LLAMA
from tests.tools.prune.structures.cuts import WINDOWS
from tools.io.errors import SecateurError
from tools.model.architecture import describe, weight
from tools.model.checkpoint import Model, open_model
from tools.prune.bench import Bench
from tools.prune.structures.anatomy import layers_of
from tools.prune.structures.way import Smaller
from tools.recipe import NM, Allocation, Compensation, Recipe, Structured
from tools.recipe.methods import method
from tools.text.windows import windows


def test_what_the_configuration_cannot_say_is_refused_before_anything_is_cut(build: Callable[[str], Any]) -> None:
    network = build("opt")
    model = Model("opt", Path("nowhere"), network, None, describe(network), "opt", "float32", "cpu")  # type: ignore[arg-type]  # no text
    bench = Bench(model, WINDOWS, WINDOWS)
    pattern = Structured(kind="depth", shapes="free")
    rates = (0.0,) * 3 + (1.0,) + (0.0,) * (len(layers_of(model)) - 4)
    allocation = Allocation(expression=None, vector=rates, granularity="layer")
    with pytest.raises(SecateurError, match="the mlp is no module of its own, so it cannot be left out alone"):
        bench.prepare(Recipe(pattern=pattern, sparsity=0.2, metric="W * X", allocation=allocation))


WIDTH = Structured(kind="width", multiple=16)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    model = open_model("tiny", cache=tmp_path_factory.mktemp("cache"))
    calibration = windows("builtin", model, part="calibration", count=8, length=128)
    return Bench(model, calibration, windows("builtin", model, part="search", count=4, length=128))


@pytest.mark.parametrize("kind", ["none", "bias", "least_squares"])
@pytest.mark.parametrize(
    "pattern", [WIDTH, Structured(kind="depth"), Structured(kind="width+depth", shapes="free", multiple=16)], ids=str
)
def test_a_recipe_is_measured_finished_and_becomes_a_smaller_model(
    pattern: Structured, kind: Any, bench: Bench
) -> None:
    recipe = Recipe(pattern=pattern, sparsity=0.4, metric="W * X", compensation=Compensation(kind=kind))
    quick = bench.divergence(recipe, 128)
    assert 0.4 <= quick.sparsity < 0.45
    bench.finish(recipe)
    kept = bench.snapshot()
    ids = bench.calibration.ids[:1]
    with torch.no_grad():
        cut_logits = bench.model.network(ids, use_cache=False).logits
        small = bench.result()
        torch.testing.assert_close(small.network(ids, use_cache=False).logits, cut_logits, rtol=1e-4, atol=1e-4)
        assert small.architecture.size <= 0.6 * bench.model.architecture.size
        bench.restore()
        assert bench.result() is bench.model
        dense = bench.model.network(ids, use_cache=False).logits
        assert not torch.allclose(dense, cut_logits)
        bench.load(kept)
        assert torch.equal(bench.model.network(ids, use_cache=False).logits, cut_logits)
        bench.restore()
        assert torch.equal(bench.model.network(ids, use_cache=False).logits, dense), "a trace of the candidate is left"


def test_zeros_that_were_there_before_are_not_what_falls(tmp_path: Path) -> None:
    model = open_model("tiny", cache=tmp_path)
    for p in model.architecture.projections:
        weight(model.network, p)[:, ::5] = 0.0
    calibration = windows("builtin", model, part="calibration", count=2, length=64)
    bench = Bench(model, calibration, calibration)
    recipe = Recipe(pattern=WIDTH, sparsity=0.4, metric="W * X")
    assert 0.4 <= bench.divergence(recipe, 64).sparsity < 0.45
    bench.finish(recipe)
    assert isinstance(bench.made, Smaller)
    first = next(of for of in bench.made.layout.layers if of.sublayer == "mlp")
    lies = bench.gone()
    weight(model.network, first.consumer).fill_(1.0)
    assert bench.gone()[first.consumer.name] == 0.0 < lies[first.consumer.name]
    assert bench.divergence(Recipe(sparsity=0.5, metric="W * X"), 64).sparsity == pytest.approx(0.5, abs=1e-3)
    assert bench.divergence(Recipe(pattern=NM(n=3, m=4), sparsity=0.25, metric="W * X"), 64).sparsity >= 0.25


def test_making_up_for_what_fell_helps(bench: Bench) -> None:
    values = {}
    for kind in ("none", "least_squares"):
        recipe = Recipe(pattern=WIDTH, sparsity=0.4, metric="W * X", compensation=Compensation(kind=kind))  # type: ignore[arg-type]  # one of two
        values[kind] = bench.divergence(recipe, 512).value
    assert values["least_squares"] < values["none"]


def test_methods_for_structures_have_their_own_pattern() -> None:
    assert str(method("wanda_sp", 0.3).pattern) == "width"
    assert str(method("shortgpt", 0.3).pattern) == "depth"
    flap = method("flap", 0.3, Structured(kind="width+depth", multiple=16)).pattern
    assert isinstance(flap, Structured)
    assert (flap.group, flap.shapes, flap.multiple) == ("model", "free", 16)
    with pytest.raises(SecateurError, match="removes single weights"):
        method("sparsegpt", 0.3, WIDTH)


def test_shortgpt_drops_the_most_redundant_blocks(bench: Bench) -> None:
    ready = bench.prepare(method("shortgpt", 0.4))
    redundancy = bench.statistics.redundancy
    lowest = sorted(range(len(redundancy)), key=redundancy.__getitem__)[:2]
    assert [i for i, n in enumerate(ready.sizes[::2]) if n == 0] == sorted(lowest)


def test_blocks_fall_by_what_the_model_loses_without_them(bench: Bench) -> None:
    allocation = Allocation(expression="loss", width=0.1)
    recipe = Recipe(pattern=Structured(kind="depth"), sparsity=0.2, metric="W", allocation=allocation)
    found = bench.layers.terminals(frozenset({"loss"}), "block")["loss"]
    alone = []
    for block in range(5):
        rates = tuple(float(i == block) for i in range(5))
        only = recipe.model_copy(update={"allocation": Allocation(expression=None, vector=rates)})
        alone.append(bench.divergence(only, 10**6).value)
        bench.restore()
    assert found.argmin() == torch.tensor(alone).argmin(), "another text, the same least important block"
    assert [i for i, n in enumerate(bench.prepare(recipe).sizes[::2]) if n == 0] == [int(found.argmin())]
    dense = {p.name: weight(bench.model.network, p).clone() for p in bench.model.architecture.projections}
    assert all(torch.equal(dense[name], bench.dense[name]) for name in dense)
    by_layer = bench.layers.terminals(frozenset({"loss"}), "layer")["loss"]
    assert len(by_layer) == 10
    assert (by_layer > 0).all()


def test_explicit_rates_reach_the_layers_they_name(bench: Bench) -> None:
    rates = [0.0] * 10
    rates[2] = rates[3] = 1.0
    allocation = Allocation(expression=None, vector=tuple(rates), granularity="layer")
    pattern = Structured(kind="width+depth", shapes="free", multiple=16)
    sizes = bench.prepare(Recipe(pattern=pattern, sparsity=0.2, metric="W", allocation=allocation)).sizes
    assert [i for i, n in enumerate(sizes) if n == 0] == [2, 3]


def test_a_bias_that_cannot_be_written_down_is_refused() -> None:
    network = tf.AutoModelForCausalLM.from_config(tf.Qwen3Config(**LLAMA, head_dim=8)).eval()
    model = Model("qwen3", Path("nowhere"), network, None, describe(network), "qwen3", "float32", "cpu")  # type: ignore[arg-type]  # no text
    bench = Bench(model, WINDOWS, WINDOWS)
    with pytest.raises(SecateurError, match=r"cannot give .*o_proj a bias: compensate by least squares"):
        bench.divergence(method("flap", 0.3, WIDTH), 64)
