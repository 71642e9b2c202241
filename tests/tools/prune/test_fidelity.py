"""Fidelity: on real weights, masks equal those of the papers' loops, written here as their authors write them.

The loops take their statistics with hooks of their own, in the authors' order of operations (float32, one window after
the other), sort every row and mark the first so many. They are read from locuslab/wanda lib/prune.py and
lib/layerwrapper.py, Relative-importance-and-activation-pruning lib/prune.py, VILA-Lab/GBLM-Pruner lib/prune.py,
pprp/Pruner-Zero lib/prune.py, lib/gradient_computation.py and data/best_tree.json.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.tools.conftest import prepared
from tools.expression import METRIC, parse, used_terminals
from tools.model.architecture import weight
from tools.model.checkpoint import Model, open_model
from tools.prune.metric import metric_scores
from tools.prune.weights.way import from_statistics
from tools.recipe import Unstructured
from tools.recipe.methods import method
from tools.statistics.collect import Statistics, collect
from tools.statistics.layers import LayerStatistics
from tools.text.windows import Windows, windows

REAL_MODEL = os.environ.get("SECATEUR_TEST_MODEL", "")
"""A sample's name or a folder: with it the same is asked of a large model."""


class WrappedLayer:
    """`WrappedGPT` of Wanda: a running mean of squared norms over samples."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        self.scaler_row = torch.zeros(layer.weight.shape[1])
        self.nsamples = 0

    def add_batch(self, inp: torch.Tensor) -> None:
        tmp = inp.shape[0]
        inp = inp.reshape(-1, inp.shape[-1]).t()
        self.scaler_row *= self.nsamples / (self.nsamples + tmp)
        self.nsamples += tmp
        inp = inp.type(torch.float32)
        self.scaler_row += torch.norm(inp, p=2, dim=1) ** 2 / self.nsamples


def scaler_rows(model: Model, text: Windows) -> dict[str, torch.Tensor]:
    layers = {p.name: model.network.get_submodule(p.name) for p in model.architecture.projections}
    wrapped = {name: WrappedLayer(layer) for name, layer in layers.items()}

    def add(name: str) -> Callable[..., None]:
        return lambda module, inp, out: wrapped[name].add_batch(inp[0].data)

    handles = [layer.register_forward_hook(add(name)) for name, layer in layers.items()]
    with torch.no_grad():
        for ids in text.ids:
            model.network(input_ids=ids[None], use_cache=False)
    for handle in handles:
        handle.remove()
    return {name: w.scaler_row for name, w in wrapped.items()}


def gradients_l2(model: Model, text: Windows) -> dict[str, torch.Tensor]:
    """Squares of a hundred times the gradient of every sample, added up, and the root of it."""
    layers = {p.name: model.network.get_submodule(p.name) for p in model.architecture.projections}
    sums = {name: torch.zeros_like(layer.weight, dtype=torch.float32) for name, layer in layers.items()}
    for layer in layers.values():
        layer.weight.requires_grad_(True)
    for ids in text.ids:
        model.network(input_ids=ids[None], labels=ids[None], use_cache=False).loss.backward()
        for name, layer in layers.items():
            sums[name] += (layer.weight.grad.data.to(torch.float32) * 100) ** 2
        model.network.zero_grad()
    for layer in layers.values():
        layer.weight.requires_grad_(False)
    return {name: torch.sqrt(total) for name, total in sums.items()}


Score = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(weight, scaler_row, gradient) -> W_metric."""


def wanda(w: torch.Tensor, scaler_row: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    return torch.abs(w) * torch.sqrt(scaler_row.reshape((1, -1)))


def ria(w: torch.Tensor, scaler_row: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    relative = torch.abs(w) / torch.sum(torch.abs(w), dim=0)
    relative = relative + torch.abs(w) / torch.sum(torch.abs(w), dim=1).reshape(-1, 1)
    return relative * (torch.sqrt(scaler_row.reshape((1, -1)))) ** 0.5


def gblm(w: torch.Tensor, scaler_row: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    return wanda(w, scaler_row, g) + torch.abs(w) * torch.abs(g)


def pruner_zero(w: torch.Tensor, scaler_row: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """The tree mul(abs(mul(W, W)), mms(G)) at W = |weight|."""
    w = torch.abs(w)
    return torch.abs(torch.mul(w, w)) * ((g - torch.min(g)) / (torch.max(g) - torch.min(g)))


PAPERS: dict[str, Score] = {
    "magnitude": lambda w, scaler_row, g: torch.abs(w),
    "wanda": wanda,
    "ria": ria,
    "gblm": gblm,
    "pruner_zero": pruner_zero,
}


def paper_mask(score: torch.Tensor, sparsity: float) -> torch.Tensor:
    mask = torch.zeros_like(score) == 1
    order = torch.sort(score, dim=-1, stable=True)[1]
    mask.scatter_(1, order[:, : int(score.shape[1] * sparsity)], True)
    return mask


class Real:
    """A model with both sides' statistics of the same windows."""

    def __init__(self, model: Model, text: Windows) -> None:
        self.model = model
        self.dense = {p.name: weight(model.network, p).clone() for p in model.architecture.projections}
        self.scaler_row = scaler_rows(model, text)
        self.gradient = gradients_l2(model, text)
        self.statistics: Statistics = collect(model, text, needs=frozenset({"gradient"}))

    def differing(self, name: str) -> dict[str, int]:
        """Weights per projection that one side removes and the other keeps."""
        recipe = method(name, 0.5, Unstructured(group="row"))
        ready = prepared(self.model, LayerStatistics(self.model, self.dense, self.statistics), recipe)
        from_statistics(self.model, self.dense, self.statistics, ready)
        found = {}
        for p in self.model.architecture.projections:
            w = self.dense[p.name]
            mask = paper_mask(PAPERS[name](w, self.scaler_row[p.name], self.gradient[p.name]), 0.5)
            expected = w.masked_fill(mask, 0)
            found[p.name] = int((weight(self.model.network, p) != expected).sum())
        return {n: count for n, count in found.items() if count}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Real:
    model = open_model("tiny", cache=tmp_path_factory.mktemp("cache"))
    return Real(model, windows("builtin", model, part="calibration", count=16, length=256))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Real:
    if not REAL_MODEL:
        pytest.skip("SECATEUR_TEST_MODEL names no model, for example smollm2-135m")
    cache = Path(os.environ.get("SECATEUR_TEST_CACHE", "") or tmp_path_factory.mktemp("cache"))
    model = open_model(REAL_MODEL, cache=cache)
    return Real(model, windows("builtin", model, part="calibration", count=4, length=256))


@pytest.mark.parametrize("name", PAPERS)
def test_masks_are_the_papers_on_the_trained_sample(tiny: Real, name: str) -> None:
    assert tiny.differing(name) == {}


@pytest.mark.parametrize("name", PAPERS)
def test_scores_are_the_papers_to_the_last_bit(tiny: Real, name: str) -> None:
    """Masks of a small model may agree by luck where scores are rounded otherwise; a large one has ties to lose."""
    node = parse(method(name, 0.5).metric, METRIC)
    for p in tiny.model.architecture.projections:
        w, statistics = tiny.dense[p.name], tiny.statistics
        found = metric_scores(node, used_terminals(node), w, statistics.inputs[p.name], p.name, statistics)
        assert torch.equal(found, PAPERS[name](w, tiny.scaler_row[p.name], tiny.gradient[p.name])), p.name


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPERS)
def test_masks_are_the_papers_on_a_real_model(large: Real, name: str) -> None:
    assert large.differing(name) == {}


def test_the_papers_statistics_are_ours_to_the_last_bit(tiny: Real) -> None:
    for name, row in tiny.scaler_row.items():
        assert torch.equal(tiny.statistics.inputs[name].norm, row.sqrt())
        assert torch.equal(tiny.statistics.gradient[name], tiny.gradient[name])


def test_masks_of_other_metrics_differ(tiny: Real) -> None:
    """So that equality above says something: the metrics do not agree among themselves."""
    first = next(iter(tiny.dense))
    masks = [
        paper_mask(score(tiny.dense[first], tiny.scaler_row[first], tiny.gradient[first]), 0.5)
        for score in PAPERS.values()
    ]
    differences = [int((a != b).sum()) for i, a in enumerate(masks) for b in masks[:i]]
    assert min(differences) > 10
