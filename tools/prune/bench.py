"""A resident model with everything a candidate needs: dense weights, statistics, dense logits.

Opening it costs one pass over the calibration text; after that a candidate costs scores, masks and one forward pass
over the tokens of its fidelity. The model is always left as the last candidate made it; whoever needs dense weights
calls `restore`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch

from tools.deliver.verify import sparsities
from tools.expression import METRIC, parse, used_terminals
from tools.io.errors import SecateurError
from tools.io.heap import keep_freed_memory
from tools.measure.divergence import DenseLogits, divergence, remember_dense
from tools.measure.perplexity import perplexity
from tools.model.architecture import weight
from tools.model.checkpoint import Model
from tools.model.precision import round_to_delivered
from tools.model.room import bench_parts, require_memory
from tools.prune.allocation import Unit, units
from tools.prune.experts.mixtures import ResidentExperts, choose, expert_scores
from tools.prune.structures.anatomy import CONSUMERS, layers_of
from tools.prune.structures.cut import Layout, fallen
from tools.prune.structures.scores import unit_scores
from tools.prune.structures.seconds import Prices, prices_of
from tools.prune.structures.shrink import shrink
from tools.prune.structures.way import cut_from_statistics, cut_propagated
from tools.prune.weights.masks import ranks as ranked
from tools.prune.weights.way import (
    Plan,
    is_silent,
    metric_scores,
    needs_of,
    overall,
    plan,
    prune_from_statistics,
    prune_propagated,
)
from tools.recipe import Experts, Granularity, Pattern, Recipe, Request, Structured
from tools.recipe.measurement import Measurement
from tools.statistics.collect import Shelf, Statistics, add, collect
from tools.statistics.layers import LayerStatistics
from tools.text.windows import Windows

T = TypeVar("T")

PROBE_MATRICES = 8
LOSS_WINDOWS = 2
"""Calibration windows that a measured loss is taken on: one forward pass over them for every unit."""
PROBE_ROWS = 48
TOLERANCE = 1e-3
"""How far the measured sparsity may be from the recipe's: 0.1 % of the prunable weights."""


@dataclass(frozen=True)
class Snapshot:
    """A pruned model, to be put back later."""

    weights: dict[str, torch.Tensor]
    """(out, in) by projection, on the CPU."""
    biases: dict[str, torch.Tensor | None]
    layout: Layout | None
    experts: Mapping[str, torch.Tensor] | None
    """Indices of those that stay, by mixture, where experts fell."""


def _spread(parts: Sequence[T], kind: Callable[[T], str]) -> list[T]:
    """A few over the whole depth, kinds in turn."""
    kinds = [[part for part in parts if kind(part) == name] for name in dict.fromkeys(map(kind, parts))]
    members = [kinds[i % len(kinds)] for i in range(min(PROBE_MATRICES, len(parts)))]
    return [alike[i * len(alike) // PROBE_MATRICES] for i, alike in enumerate(members)]


class Workbench:
    """Measures recipes on one model."""

    def __init__(
        self,
        model: Model,
        calibration: Windows,
        search: Windows | None,
        cache: Path | None = None,
        needs: frozenset[str] = frozenset(),
        prices: Prices | None = None,
    ) -> None:
        """Take the dense model's statistics.

        Args:
            needs: the optional statistics that will surely be asked for. prices: measured elsewhere, for their request.

        Raises:
            SecateurError: what it holds does not fit into memory.
        """
        keep_freed_memory()
        longest = max(part.ids.shape[1] for part in (calibration, search) if part is not None)
        require_memory(
            bench_parts(model.architecture, model.network, gram="gram" in needs, window=longest), model.device
        )
        self.model = model
        self.calibration = calibration
        self.search = search
        self.cache = cache
        self.dense = {p.name: weight(model.network, p).clone() for p in model.architecture.projections}
        self._biases = self._read_biases()
        self.layout: Layout | None = None
        """What stays of the model as it is now, where structures fell."""
        self._experts: ResidentExperts | None = None
        """Known from the first recipe on whose experts fall."""
        self.statistics: Statistics = collect(model, calibration, needs=needs, cache=cache)
        self.layers = LayerStatistics(model, self.dense, self.statistics)
        self.layers.losses = self.losses
        self._logits: DenseLogits | None = None
        self._known_prices: dict[Request, Prices] = {} if prices is None else {prices.request: prices}
        self._pruned = False

    def restore(self) -> None:
        """Write the dense weights back."""
        if self._pruned:
            self._write(self.dense, self._biases)
            self._keep_experts(None)
            self.layout = None
            self._pruned = False

    def _keep_experts(self, kept: Mapping[str, torch.Tensor] | None) -> None:
        """Have the model hold these experts, by mixture; None for all."""
        if kept is not None:
            self._experts = self._experts or ResidentExperts(self.model)
            self._experts.keep(kept)
        elif self._experts is not None:
            self._experts.restore()

    def _write(self, weights: Mapping[str, torch.Tensor], biases: Mapping[str, torch.Tensor | None]) -> None:
        with torch.inference_mode():
            for p in self.model.architecture.projections:
                weight(self.model.network, p).copy_(weights[p.name])
        self._write_biases(biases)

    def _read_biases(self) -> dict[str, torch.Tensor | None]:
        """Biases of the matrices that read heads and neurons: what else than weights a recipe may change."""
        found = {}
        for p in self.model.architecture.projections:
            if p.role in CONSUMERS:
                bias = self.model.network.get_submodule(p.name).bias
                found[p.name] = None if bias is None else bias.detach().clone()
        return found

    def _write_biases(self, biases: Mapping[str, torch.Tensor | None]) -> None:
        for name, values in biases.items():
            module = self.model.network.get_submodule(name)
            module.bias = None if values is None else torch.nn.Parameter(values.to(self.model.device).clone(), False)

    def require(self, needs: frozenset[str]) -> None:
        """Collect the optional statistics that are still missing (from the dense model)."""
        held = {
            "gram": next(iter(self.statistics.inputs.values())).gram is not None,
            "gradient": bool(self.statistics.gradient),
            "regional": bool(self.statistics.regional),
            "routing": bool(self.statistics.routing),
        }
        if missing := frozenset(need for need in needs if not held[need]):
            self.restore()
            if "gram" not in missing:
                add(self.statistics, self.model, self.calibration, missing, self.cache)
                return
            wanted = missing | frozenset(need for need, there in held.items() if there)
            self.statistics = collect(self.model, self.calibration, needs=wanted, cache=self.cache)
            self.layers.statistics = self.statistics

    def ready(self, recipe: Recipe) -> Plan:
        """Collect what the recipe needs and decide the sparsity of every projection."""
        self.require(needs_of(recipe))
        return plan(self.model, self.layers, recipe, self.prices(recipe.pattern))

    def prices(self, pattern: Pattern) -> Prices | None:
        """What layers cost, where the pattern counts time: measured once per machine and request."""
        request = pattern.request if isinstance(pattern, Structured) else None
        if request is None:
            return None
        if request not in self._known_prices:
            self.restore()
            self._known_prices[request] = prices_of(self.model, layers_of(self.model), request, self.cache)
        return self._known_prices[request]

    def check(self, recipe: Recipe) -> None:
        """Try a recipe on a sample of the weights before anything costly is done.

        Raises:
            SecateurError: it cannot be planned, or its metric is not finite or ranks nothing on this model.
        """
        self.ready(recipe)
        if isinstance(recipe.pattern, Experts):
            self.probe_structures(recipe)
        else:
            self.probe(recipe.metric)

    @property
    def silent(self) -> dict[str, str]:
        """Projections that no metric can rank -> why: of zeros any half is as good as the other."""
        return {
            name: "its weights are all zero" if not w.any() else "its inputs are always zero"
            for name, w in self.dense.items()
            if is_silent(w, self.statistics.inputs[name])
        }

    @property
    def logits(self) -> DenseLogits:
        """The dense model's top logits on the search windows, computed when first asked for."""
        if self._logits is None:
            assert self.search is not None, "this workbench was opened without search windows"
            self.restore()
            self._logits = remember_dense(self.model, self.search)
        return self._logits

    def divergence(self, recipe: Recipe, tokens: int) -> Measurement:
        """Fitness of a recipe in its search form: KL to the dense model over about `tokens` search tokens."""
        start = time.perf_counter()
        logits = self.logits
        ready = self.ready(recipe)
        self._prune(ready)
        count = max(1, tokens // logits.windows.ids.shape[1])
        found = divergence(self.model, logits, count, sparsity=self.measured_sparsity(ready))
        return found.model_copy(update={"seconds": time.perf_counter() - start})

    def search_form(self, recipe: Recipe) -> Model:
        """The model as `divergence` measures it."""
        ready = self.ready(recipe)
        self._prune(ready)
        self.measured_sparsity(ready)
        return self.result()

    def _prune(self, ready: Plan) -> None:
        """Write the candidate's search form into the model."""
        self._keep_experts(None)
        if isinstance(ready.recipe.pattern, Experts):
            self._prune_experts(ready)
        elif isinstance(ready.recipe.pattern, Structured):
            self._write_biases(self._biases)
            self._pruned = True
            self.layout = cut_from_statistics(self.model, self.dense, self.statistics, ready)
        else:
            self._write_biases(self._biases)
            self._pruned, self.layout = True, None
            prune_from_statistics(self.model, self.dense, self.statistics, ready)

    def _prune_experts(self, ready: Plan) -> None:
        """Keep the experts that matter to the dense model, as REAP has it: search and final form are one."""
        self.restore()
        self._pruned = True
        self._keep_experts(choose(ready.metric, self.statistics.routing, ready.sizes[0]))

    def finish(self, recipe: Recipe, progress: Callable[[int, int], None] | None = None) -> None:
        """Prune the dense model by the recipe in its final form, block after block with propagated activations; the
        weights are then rounded to the precision they are saved in."""
        ready = self.ready(recipe)
        self.restore()
        self._pruned = True
        if isinstance(recipe.pattern, Experts):
            self._prune_experts(ready)
        elif isinstance(recipe.pattern, Structured):
            self.layout = cut_propagated(self.model, self.calibration, self.statistics, ready, progress=progress)
        else:
            prune_propagated(self.model, self.calibration, self.statistics, ready, progress=progress)
        round_to_delivered(self.model)
        self.measured_sparsity(ready)

    def result(self) -> Model:
        """The pruned model to be saved: itself, or the smaller one where structures fell (without experts, the resident
        model itself is smaller)."""
        return self.model if self.layout is None else shrink(self.model, self.layout)

    def losses(self, granularity: Granularity, progress: Callable[[int, int], None] | None = None) -> list[float]:
        """Mean KL (nats per token) of the dense model without one unit, for every unit; kept beside the statistics."""
        members = units(self.model.architecture, granularity)
        windows = self.calibration.first(min(LOSS_WINDOWS, len(self.calibration.ids)))

        def compute() -> dict[str, torch.Tensor]:
            self.restore()
            dense = remember_dense(self.model, windows)
            found = []
            for unit in members:
                found.append(self._loss(unit, dense))
                if progress is not None:
                    progress(len(found), len(members))
            return {"loss": torch.tensor(found, dtype=torch.float64)}

        kept = Shelf(self.cache, self.model, windows).get(f"loss-{granularity}", compute)
        values: list[float] = kept["loss"].tolist()
        return values

    def _loss(self, unit: Unit, dense: DenseLogits) -> float:
        """KL without this unit: its weights and the bias of what reads it are zero for the time of the measurement."""
        modules = [self.model.network.get_submodule(p.name) for p in unit.projections]
        held = [module.bias for p, module in zip(unit.projections, modules, strict=True) if p.role in CONSUMERS]
        biases = [bias for bias in held if bias is not None]
        kept = [bias.detach().clone() for bias in biases]
        with torch.inference_mode():
            for p in unit.projections:
                weight(self.model.network, p).zero_()
            for bias in biases:
                bias.zero_()
            found = divergence(self.model, dense, len(dense.windows.ids), sparsity=0.0).value
            for p in unit.projections:
                weight(self.model.network, p).copy_(self.dense[p.name])
            for bias, values in zip(biases, kept, strict=True):
                bias.copy_(values)
        return found

    def perplexity(self, windows: Windows, form: str) -> Measurement:
        """Perplexity of the model as it stands (dense after `restore`, pruned after `finish`)."""
        share = self._share(self.sparsities())
        return perplexity(self.model, windows, sparsity=share, form=form)

    def sparsities(self) -> dict[str, float]:
        """What is gone of the model as it stands: the share of every projection, or of the experts of every block."""
        if self._experts is not None and self._experts.kept is not None:
            return self._experts.shares()
        return sparsities(self.model) if self.layout is None else fallen(self.model, self.layout)

    @cached_property
    def _zeros(self) -> float:
        """Share of the dense weights that is zero: quantised weights, or a model that was pruned before."""
        return overall(self.model, {name: float((w == 0).sum()) / w.numel() for name, w in self.dense.items()})

    def _share(self, shares: Mapping[str, float]) -> float:
        """Share of all weights that the pattern can remove; mixtures are all of one size."""
        if shares.keys() & self.statistics.routing.keys():
            return sum(shares.values()) / len(shares)
        return overall(self.model, shares)

    def measured_sparsity(self, ready: Plan) -> float:
        """The share of the prunable weights that really fell; of the experts and their routers where experts do.

        Raises:
            SecateurError: it is not the plan's within 0.1 % (zeros that were there before may come on top), or less
                than was asked for; "0 % pruned, success" must be impossible.
        """
        share, planned = self._share(self.sparsities()), self._share(ready.sparsity)
        pattern = ready.recipe.pattern
        least = 0.0 if isinstance(pattern, Structured) and pattern.request else ready.recipe.sparsity
        most = planned + TOLERANCE + (self._zeros if self.layout is None else 0.0)
        if not max(planned, least) - TOLERANCE <= share <= most or share == 0.0:
            raise SecateurError(
                f"planned sparsity {planned:.4f}, measured {share:.4f}: the weights were not pruned as asked"
            )
        return share

    def probe(self, metric: str, group: str = "row") -> torch.Tensor:
        """Ranks (0 to 1) that a metric gives to a fixed sample of the dense weights, within rows or matrices, flat.

        Two metrics whose probes agree are one candidate: they choose the same masks.

        Raises:
            SecateurError: the metric is malformed, or its values are not finite or all the same.
        """
        return torch.cat([ranks.flatten() for ranks in self.probe_ranks(metric, group).values()])

    def probe_structures(self, recipe: Recipe) -> torch.Tensor:
        """Ranks (0 to 1) that a recipe's metric gives to the head groups and neurons of a few layers, or to all
        experts, flat.

        Where only depth falls, the metric decides nothing and all recipes have one probe.
        """
        if isinstance(recipe.pattern, Structured) and not recipe.pattern.width:
            return torch.tensor([0.0, 1.0])
        node = parse(recipe.metric, recipe.language)
        used = used_terminals(node)
        self.require(needs_of(recipe))
        if isinstance(recipe.pattern, Experts):
            found = [expert_scores(node, routing) for _, routing in sorted(self.statistics.routing.items())]
            return torch.cat([(ranked(s).double() / max(1, len(s) - 1)).cpu() for s in found])
        ranks = []
        layers = [layer for layer in layers_of(self.model) if layer.units > 1]
        for layer in _spread(layers, lambda layer: layer.sublayer):
            name = layer.consumer.name
            scores = metric_scores(node, used, self.dense[name], self.statistics.inputs[name], name, self.statistics)
            order = ranked(unit_scores(scores, layer)).double()
            ranks.append((order / (layer.units - 1)).cpu())
        return torch.cat(ranks)

    def probe_ranks(self, metric: str, group: str = "row") -> dict[str, torch.Tensor]:
        """The same by matrix: (rows, in) ranks, or (1, rows * in) where the matrix is the comparison group."""
        node = parse(metric, METRIC)
        used = used_terminals(node)
        self.require(needs_of(Recipe(sparsity=0.5, metric=metric)))
        ranks = {}
        for p in _spread(self.model.architecture.projections, lambda p: p.role):
            inputs = self.statistics.inputs[p.name]
            scores = metric_scores(node, used, self.dense[p.name], inputs, p.name, self.statistics)
            rows = scores[:: max(1, scores.shape[0] // PROBE_ROWS)][:PROBE_ROWS]
            rows = rows if group == "row" else rows.reshape(1, -1)
            ranks[p.name] = (ranked(rows).double() / max(1, rows.shape[1] - 1)).cpu()
        return ranks

    def snapshot(self) -> Snapshot:
        """The pruned model as it is now."""
        network = self.model.network
        weights = {p.name: weight(network, p).to("cpu", copy=True) for p in self.model.architecture.projections}
        experts = None if self._experts is None else self._experts.kept
        return Snapshot(weights, self._read_biases(), self.layout, experts)

    def load(self, snapshot: Snapshot) -> None:
        """Write a snapshot back."""
        self._pruned = True
        self._write(snapshot.weights, snapshot.biases)
        self._keep_experts(snapshot.experts)
        self.layout = snapshot.layout
