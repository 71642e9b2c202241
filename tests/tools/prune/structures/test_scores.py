"""Who falls: scores of units and thresholds."""

from __future__ import annotations

from typing import Any

import torch

from tools.model.architecture import weight
from tools.model.checkpoint import Model
from tools.prune.structures.anatomy import layers_of
from tools.prune.structures.scores import across_model, highest, unit_scores
from tools.statistics.collect import collect


def by_loops(w: torch.Tensor, x: torch.Tensor, head: int) -> list[float]:
    """Wanda-sp as its authors write it: |W| sqrt(mean x^2) averaged over rows, summed over a head's channels."""
    metric = (w.abs() * x.square().mean(0).sqrt()).mean(0)
    return [float(metric[i : i + head].sum()) for i in range(0, len(metric), head)]


def test_wanda_sp_scores_are_those_of_its_authors(trained: Model, draw: Any) -> None:
    layers = layers_of(trained)
    attention = layers[0]
    name = attention.consumer.name
    x: list[torch.Tensor] = []
    handle = trained.network.get_submodule(name).register_forward_pre_hook(lambda m, a: x.append(a[0].flatten(0, 1)))
    statistics = collect(trained, draw(2, 32))
    handle.remove()
    w = weight(trained.network, attention.consumer)
    found = unit_scores(w.abs() * statistics.inputs[name].norm, attention)
    expected = torch.tensor(by_loops(w, torch.cat(x), attention.span), dtype=torch.float64)
    torch.testing.assert_close(found / found.sum(), expected / expected.sum(), rtol=1e-4, atol=0)


def test_the_highest_scores_stay_and_ties_fall_in_order() -> None:
    assert highest(torch.tensor([3.0, 1.0, 2.0, 5.0]), 2).tolist() == [0, 3]
    assert highest(torch.tensor([1.0, 1.0, 1.0]), 1).tolist() == [2]


def test_one_threshold_for_the_whole_model_takes_the_lowest_first(trained: Model) -> None:
    layers = layers_of(trained)
    scores = [torch.full((of.units,), float(i), dtype=torch.float64) for i, of in enumerate(layers)]
    share = layers[0].size / sum(of.size for of in layers)
    found = across_model(scores, layers, share + 1e-9)
    assert found[0] == 1.0
    assert sum(found[1:]) == 0.0
