"""The way of columns: the mean score of a column decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tools.expression import parse
from tools.model.architecture import weight
from tools.model.sparsity import overall
from tools.model.units import units
from tools.prune.allocation import sparsities
from tools.prune.metric import metric_scores, priorities
from tools.prune.prepared import Made, Prepared
from tools.prune.probe import ranks_within
from tools.prune.way import Progress, Way
from tools.recipe import Recipe

if TYPE_CHECKING:
    from tools.prune.resident import Resident


class ColumnsWay(Way[Prepared]):
    """The way of `columns`."""

    def propagates(self, recipe: Recipe) -> bool:
        return False

    def prepare(self, held: Resident, recipe: Recipe) -> Prepared:
        members = units(held.model.architecture, recipe.allocation.granularity)
        rates = sparsities(recipe.allocation, members, recipe.sparsity, priorities(held.layers, recipe))
        by_name = {p.name: p for p in held.model.architecture.projections}
        rates = {n: -(-r * by_name[n].in_features // 1) / by_name[n].in_features for n, r in rates.items()}
        return Prepared(recipe, parse(recipe.metric, recipe.language), rates, overall(held.model, rates))

    def probe(self, held: Resident, ready: Prepared) -> torch.Tensor:
        return torch.cat([r.flatten() for r in ranks_within(held, ready.metric, "matrix").values()])

    def search_form(self, held: Resident, ready: Prepared) -> Made:
        with torch.inference_mode():
            for p in held.model.architecture.projections:
                w, inputs = held.dense[p.name], held.statistics.inputs[p.name]
                scores = metric_scores(ready.metric, ready.terminals, w, inputs, p.name, held.statistics)
                gone = scores.mean(0).argsort(stable=True)[: round(ready.sparsity[p.name] * p.in_features)]
                weight(held.model.network, p).copy_(w.index_fill(1, gone, 0))
        return Made(held.model)

    def final_form(self, held: Resident, ready: Prepared, progress: Progress | None) -> Made:
        return self.search_form(held, ready)


WAY = ColumnsWay()
