"""Single weights fall, within rows, matrices or blocks, or of every few consecutive ones (N:M)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from tools.expression import parse
from tools.io.errors import SecateurError
from tools.model.architecture import weight
from tools.model.blocks import check_blocks, passes
from tools.model.sparsity import overall
from tools.model.units import units
from tools.prune import allocation
from tools.prune.metric import priorities, reads_inputs
from tools.prune.prepared import Made, Prepared
from tools.prune.probe import ranks_within
from tools.prune.way import Progress, Way
from tools.prune.weights.block import prune_block
from tools.recipe import NM, Recipe
from tools.statistics.collect import Statistics
from tools.statistics.inputs import batches, recording, settled, shared_inputs

if TYPE_CHECKING:
    from tools.model.checkpoint import Model
    from tools.prune.resident import Resident
    from tools.text.windows import Windows


class Weights(Way[Prepared]):
    """The way of `unstructured` and `n:m`."""

    def prepare(self, held: Resident, recipe: Recipe) -> Prepared:
        """Rates by the allocation; with N:M one for all, and rows must be whole groups (else SecateurError)."""
        architecture, pattern = held.model.architecture, recipe.pattern
        if isinstance(pattern, NM):
            _require_groups(held.model, pattern)
            rates = {p.name: recipe.sparsity for p in architecture.projections}
        else:
            members = units(architecture, recipe.allocation.granularity)
            priority = priorities(held.layers, recipe)
            rates = allocation.sparsities(recipe.allocation, members, recipe.sparsity, priority)
        return Prepared(recipe, parse(recipe.metric, recipe.language), rates, overall(held.model, rates))

    def probe(self, held: Resident, ready: Prepared) -> torch.Tensor:
        """Of a few rows of a few matrices over the whole depth."""
        ranks = ranks_within(held, ready.metric, ready.recipe.pattern.comparison)
        return torch.cat([values.flatten() for values in ranks.values()])

    def search_form(self, held: Resident, ready: Prepared) -> Made:
        """Masks and updates of every projection, from the dense model's statistics."""
        from_statistics(held.model, held.dense, held.statistics, ready)
        return Made(held.model)

    def final_form(self, held: Resident, ready: Prepared, progress: Progress | None) -> Made:
        """Block after block, each on what the pruned ones before it put out."""
        propagated(held.model, held.calibration, held.statistics, ready, progress=progress)
        return Made(held.model)


WAY = Weights()


def _require_groups(model: Model, pattern: NM) -> None:
    for p in model.architecture.projections:
        if p.in_features % pattern.m:
            raise SecateurError(f"{pattern}: {p.name} has rows of {p.in_features}, not a multiple of {pattern.m}")


def from_statistics(model: Model, dense: Mapping[str, torch.Tensor], statistics: Statistics, ready: Prepared) -> None:
    """Write the pruned weights into the model, from the dense weights and the dense model's statistics (search form).

    Args:
        dense: (out, in) weights of every projection before pruning.
    """
    with torch.inference_mode():
        for block in range(model.architecture.n_blocks):
            members = model.architecture.of_block(block)
            into = {p.name: weight(model.network, p) for p in members}
            prune_block(ready, members, dense, statistics.inputs, statistics, into)


def propagated(
    model: Model, windows: Windows, statistics: Statistics, ready: Prepared, *, progress: Progress | None = None
) -> None:
    """Prune the dense model block after block, each on what the pruned blocks before it put out (final form).

    Args:
        windows: the calibration windows. statistics: of the dense model, for gradients.
    """
    if not reads_inputs(ready.recipe):  # magnitude, Pruner-Zero: the same masks whatever comes in
        dense = {p.name: weight(model.network, p) for p in model.architecture.projections}
        from_statistics(model, dense, statistics, ready)
        return
    shared = shared_inputs(model.architecture)
    check_blocks(model, windows.ids)
    together = batches(windows)
    with torch.inference_mode(), passes(model, together) as held:
        for block in range(model.architecture.n_blocks):
            members = model.architecture.of_block(block)
            names = {p.name for p in members}
            firsts = {k: v for k, v in shared.items() if k in names}
            with recording(model, firsts, windows.ids.shape[1], "gram" in ready.needs) as inputs:
                for place in range(len(together)):
                    held.run(place)
            weights = {p.name: weight(model.network, p) for p in members}
            inputs = settled(inputs, model.architecture)
            prune_block(ready, members, weights, inputs, statistics, into=weights)
            held.go_on()
            if progress is not None:
                progress(block + 1, model.architecture.n_blocks)
