"""Relative output errors of single layers, beside the inputs themselves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tools.io.errors import UsageError
from tools.model.checkpoint import Model
from tools.prune.bench import Bench
from tools.prune.trial import ALLOCATED, UNIFORM, allocation_trial, layer_trial
from tools.recipe.trial import allocation_recipe, metric_recipe
from tools.text.windows import Windows

Draw = Callable[..., Windows]


@pytest.fixture
def bench(trained: Model, draw: Draw) -> Bench:
    return Bench(trained, draw(4, 64, 512), None, needs=frozenset({"gram"}))


def read(model: Model, name: str, windows: Windows) -> torch.Tensor:
    """What a projection reads (tokens, in)."""
    found: list[torch.Tensor] = []
    hook = model.network.get_submodule(name).register_forward_pre_hook(lambda _, args: found.append(args[0]))
    with torch.inference_mode():
        model.network(windows.ids)
    hook.remove()
    return found[0].flatten(0, 1).double()


def test_the_error_of_wanda_is_that_of_its_papers_loop(bench: Bench) -> None:
    recipes = dict([metric_recipe("wanda", 0.5), metric_recipe("W * X ** 0.5", 0.5)])
    trial = layer_trial(bench, recipes, 2)
    for of in trial.projections:
        x = read(bench.model, of.name, bench.calibration)
        w = bench.dense[of.name].double()
        kept = w.clone()
        for i, row in enumerate(w.abs() * x.norm(dim=0)):
            kept[i, row.argsort()[: len(row) // 2]] = 0
        error = ((w - kept) @ x.T).square().sum() / (w @ x.T).square().sum()
        assert of.errors["wanda"] == pytest.approx(float(error), rel=1e-3)
        assert of.errors["W * X ** 0.5"] != of.errors["wanda"]
    mean = sum(of.errors["wanda"] for of in trial.projections) / len(trial.projections)
    assert trial.mean["wanda"] == pytest.approx(mean)


def test_the_model_stays_as_it_is(bench: Bench) -> None:
    before = {name: p.clone() for name, p in bench.model.network.state_dict().items()}
    layer_trial(bench, dict([metric_recipe("sparsegpt", 0.5)]), 0)
    allocation_trial(bench, allocation_recipe("owl", 0.5)[1])
    assert all(torch.equal(p, before[name]) for name, p in bench.model.network.state_dict().items())


def test_the_update_of_sparsegpt_lowers_the_error(bench: Bench) -> None:
    trial = layer_trial(bench, dict([metric_recipe("sparsegpt", 0.5), metric_recipe("obs", 0.5)]), 1)
    assert trial.mean["sparsegpt"] < trial.mean["obs"]


def test_rates_of_an_allocation_and_their_cost(bench: Bench) -> None:
    trial = allocation_trial(bench, allocation_recipe("-depth", 0.4, 0.15)[1])
    assert trial.rates == pytest.approx([0.25, 0.325, 0.4, 0.475, 0.55])
    assert trial.sparsity == pytest.approx(0.4)
    middle = trial.blocks[2].errors  # has the same rate in both
    assert middle[ALLOCATED] == middle[UNIFORM] > 0
    assert trial.blocks[0].errors[ALLOCATED] < trial.blocks[0].errors[UNIFORM]
    alone = layer_trial(bench, dict([metric_recipe("wanda", 0.4)]), 0)
    assert trial.blocks[0].errors[UNIFORM] == pytest.approx(alone.mean["wanda"])


def test_layers_that_are_not_there(bench: Bench) -> None:
    recipes = dict([metric_recipe("wanda", 0.5)])
    assert layer_trial(bench, recipes, -1).block == 4
    for layer in (5, -2):
        with pytest.raises(UsageError, match=f"layer {layer} is not there: layers are the blocks 0 to 4"):
            layer_trial(bench, recipes, layer)
