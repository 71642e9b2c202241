"""Prune one block: from its weights and the statistics of what they read to what is left of them.

Search form and final form share it: the search form gives it the dense model's statistics, the final form those of the
inputs that the already pruned blocks produce (SparseGPT's and Wanda's sequential form).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from tools.model.architecture import Projection
from tools.prune.metric import metric_scores
from tools.prune.prepared import Prepared
from tools.prune.weights.masks import lowest_of_all, lowest_per_group, lowest_per_row, spread
from tools.prune.weights.obs import compensate
from tools.recipe import NM, Compensation, Recipe, Unstructured
from tools.statistics.collect import Statistics
from tools.statistics.inputs import InputStatistics


def prune_block(
    ready: Prepared,
    members: Sequence[Projection],
    weights: Mapping[str, torch.Tensor],
    inputs: Mapping[str, InputStatistics],
    statistics: Statistics,
    into: Mapping[str, torch.Tensor],
) -> None:
    """Prune the projections of one block.

    Args:
        weights: (out, in) by name, read. into: the same, written; it may be the same tensors.
    """

    def score(name: str, w: torch.Tensor, d: torch.Tensor | None = None) -> torch.Tensor:
        return metric_scores(ready.metric, ready.terminals, w, inputs[name], name, statistics, d)

    pattern, compensation = ready.recipe.pattern, ready.recipe.compensation
    wanted = {p.name: round(ready.sparsity[p.name] * p.size) for p in members}
    masks: dict[str, torch.Tensor] = {}
    if isinstance(pattern, Unstructured) and pattern.group == "block" and members:
        found = lowest_of_all([score(p.name, weights[p.name]) for p in members], sum(wanted.values()))
        masks = {p.name: mask for p, mask in zip(members, found, strict=True)}
        wanted = {name: int(mask.sum()) for name, mask in masks.items()}
    if compensation.kind == "obs":
        for name, pruned in _compensated(ready, members, weights, inputs, wanted, score).items():
            into[name].copy_(pruned)
        return
    for p in members:
        w = weights[p.name]
        mask = masks[p.name] if masks else _mask(ready.recipe, score(p.name, w), wanted[p.name])
        # 0 + w * keep: several times faster on a CPU than `where`, and no zero is negative.
        torch.addcmul(w.new_zeros(()), w, (~mask).to(w.dtype), out=into[p.name])


def _mask(recipe: Recipe, scores: torch.Tensor, count: int) -> torch.Tensor:
    """`count` weights of one matrix, by the pattern's comparison group."""
    if isinstance(recipe.pattern, NM):
        return lowest_per_group(scores, recipe.pattern.n, recipe.pattern.m)
    if isinstance(recipe.pattern, Unstructured) and recipe.pattern.group == "row":
        return lowest_per_row(scores, spread(count, scores.shape[0]).to(scores.device))
    return lowest_of_all([scores], count)[0]


def _compensated(
    ready: Prepared,
    members: Sequence[Projection],
    weights: Mapping[str, torch.Tensor],
    inputs: Mapping[str, InputStatistics],
    wanted: Mapping[str, int],
    score: Callable[..., torch.Tensor],
) -> dict[str, torch.Tensor]:
    """OBS on all matrices that share an input at once: they share the Hessian, their rows do not meet."""
    found: dict[str, torch.Tensor] = {}
    by_input: dict[int, list[Projection]] = {}
    for p in members:
        by_input.setdefault(id(inputs[p.name]), []).append(p)
    compensation = ready.recipe.compensation
    for group in by_input.values():
        shared = inputs[group[0].name]
        assert shared.gram is not None, "OBS needs Gram matrices"
        rows = [p.out_features for p in group]
        choose = _batch_rule(ready.recipe, group, wanted, score, shared.gram.diagonal() == 0)
        factor = shared.factor(compensation.damping)
        stacked = torch.cat([weights[p.name] for p in group])
        pruned = compensate(stacked, factor, choose, _batch_size(compensation, ready.recipe))
        found |= {p.name: part for p, part in zip(group, pruned.split(rows), strict=True)}
    return found


def _batch_size(compensation: Compensation, recipe: Recipe) -> int:
    """A lazy batch holds whole N:M groups."""
    m = recipe.pattern.m if isinstance(recipe.pattern, NM) else 1
    return -(-compensation.batch // m) * m


def _batch_rule(
    recipe: Recipe,
    group: Sequence[Projection],
    wanted: Mapping[str, int],
    score: Callable[..., torch.Tensor],
    dead: torch.Tensor,
) -> Callable[[torch.Tensor, torch.Tensor, int, int], torch.Tensor]:
    """The rule that OBS asks for the mask of a batch of columns; over all batches the counts add up exactly.

    Inputs that are always zero (dead columns) fall first, as SparseGPT has it, but never more than were asked for.
    """
    rows = [p.out_features for p in group]
    shares = {p.name: spread(wanted[p.name], p.in_features).cumsum(0).tolist() for p in group}

    def choose(current: torch.Tensor, diagonal: torch.Tensor, first: int, last: int) -> torch.Tensor:
        masks = []
        for p, w in zip(group, current.split(rows), strict=True):
            scores = score(p.name, w, diagonal)[:, first:last].masked_fill(dead[first:last], -torch.inf)
            before = shares[p.name][first - 1] if first else 0
            masks.append(_mask(recipe, scores, shares[p.name][last - 1] - before))
        return torch.cat(masks)

    return choose
