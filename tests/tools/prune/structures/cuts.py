"""Models that are cut at random."""

from __future__ import annotations

import torch

from tests.tools.conftest import random_windows
from tools.model.architecture import weight
from tools.model.checkpoint import Model
from tools.prune.structures.anatomy import Layer, layers_of
from tools.prune.structures.cut import Layout, cut_layer
from tools.recipe import Compensation
from tools.statistics.inputs import InputStatistics

WINDOWS = random_windows(4, 16)


def stays(layer: Layer, case: str) -> int:
    """How many units of a layer a case keeps."""
    kept = {
        "width": max(1, layer.units // 2),
        "depth": 0 if layer.block == 0 else layer.units,
        "width/free": max(1, layer.units // 2 if layer.block == 0 else layer.units * 3 // 4),
        "depth/free": 0 if (layer.block, layer.sublayer) in ((0, "attention"), (1, "mlp")) else layer.units,
    }
    return kept[case]


def cut(model: Model, case: str) -> Layout:
    """Cut a model at random."""
    generator = torch.Generator().manual_seed(0)
    dense = {p.name: weight(model.network, p).clone() for p in model.architecture.projections}
    layers, kept = layers_of(model), []
    empty = InputStatistics.empty(1, 1, "cpu", gram=False)
    for layer in layers:
        chosen = torch.randperm(layer.units, generator=generator)[: stays(layer, case)].sort().values
        cut_layer(model, layer, chosen, dense, empty, Compensation())
        kept.append(chosen)
    return Layout(layers, tuple(kept))
