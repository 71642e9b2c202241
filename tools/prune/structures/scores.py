"""Which structures of a layer fall: a metric's scores on the consumer, reduced to one number per structure.

The score of an input channel is the mean over the consumer's rows, that of a head group the sum over its channels
(Wanda-sp, CASIA-IVA-Lab/FLAP lib/prune.py). Taylor importance is the metric `W * G`: the first-order importance of
single weights (LLM-Pruner, horseee/LLM-Pruner, `param_first`) with the root of the summed squares of the windows'
gradients, added up over a structure's weights; what a structure's weights and gradients come to with their signs, where
they cancel, is not taken.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tools.prune.structures.anatomy import Layer


def unit_scores(scores: torch.Tensor, layer: Layer) -> torch.Tensor:
    """(units,) float64 from the consumer's scores (out, in)."""
    return scores.double().mean(0).view(layer.units, layer.span).sum(1)


def standardised(scores: torch.Tensor, layer: Layer) -> torch.Tensor:
    """(units,) float64: channels standardised within their layer, then averaged over each structure (FLAP)."""
    channels = scores.double().mean(0)
    spread = channels.std(correction=1)
    z = (channels - channels.mean()) / spread if spread > 0 else torch.zeros_like(channels)
    return z.view(layer.units, layer.span).mean(1)


def highest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Indices, ascending, of the `count` highest scores; of equals the later ones stay, as in masks."""
    order = scores.argsort(stable=True)
    return order[len(order) - count :].sort().values


def across_model(scores: Sequence[torch.Tensor], layers: Sequence[Layer], sparsity: float) -> list[float]:
    """The sparsity of every layer under one threshold for the structures of all layers (FLAP).

    The lowest structures fall until those that fell hold `sparsity` of the weights.

    Args:
        scores: (units,) standardised, for each layer.
    """
    flat = torch.cat([s.cpu() for s in scores])
    costs = torch.cat([torch.full((of.units,), float(of.cost), dtype=torch.float64) for of in layers])
    order = flat.argsort(stable=True)
    falls = torch.empty(len(flat), dtype=torch.bool)
    falls[order] = costs[order].cumsum(0) <= sparsity * costs.sum()
    return [float(part.double().mean()) for part in falls.split([of.units for of in layers])]
