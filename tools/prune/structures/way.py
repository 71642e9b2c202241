"""Whole structures fall: head groups, neurons, the attention or the MLP of a block, blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tools.expression import Node, parse, used_terminals
from tools.io.errors import SecateurError
from tools.model.sparsity import overall
from tools.model.units import units
from tools.prune import allocation
from tools.prune.allocation import check_length
from tools.prune.metric import metric_scores, priorities
from tools.prune.prepared import Made
from tools.prune.probe import spread
from tools.prune.structures.anatomy import Layer, require_biases, sized
from tools.prune.structures.cut import Layout, fallen
from tools.prune.structures.forms import from_statistics, propagated
from tools.prune.structures.learnt.plan import Learnt, fit_alike
from tools.prune.structures.learnt.smaller import LearntSmaller
from tools.prune.structures.prepared import Cut
from tools.prune.structures.scores import across_model, standardised, unit_scores
from tools.prune.structures.shrink import check_sayable, shrink
from tools.prune.structures.sizes import fit
from tools.prune.way import Progress, Way
from tools.prune.weights.masks import ranks
from tools.recipe import Recipe, Structured

if TYPE_CHECKING:
    from tools.model.checkpoint import Model
    from tools.prune.resident import Resident


@dataclass
class Smaller(Made):
    """A model with zeros where structures fell, which a smaller one is made from."""

    layout: Layout

    def gone(self) -> dict[str, float]:
        """By projection: what lies in structures that fall and is really zero."""
        return fallen(self.model, self.layout)

    def result(self) -> Model:
        """A smaller model, on the CPU; what stays may share the memory of the resident one."""
        return shrink(self.model, self.layout)


class Structures(Way[Cut]):
    """The way of `width`, `depth` and `width+depth`."""

    def prepare(self, held: Resident, recipe: Recipe) -> Cut:
        """Fit the sizes of layers to the weights, or to the time of a request, that may stay."""
        pattern, layers, metric = _pattern(recipe), held.anatomy, parse(recipe.metric, recipe.language)
        if recipe.compensation.kind == "bias":
            require_biases(held.model, layers)
        across = pattern.group == "model"
        wanted = _across(held, recipe, layers, metric) if across else _wanted(held, recipe, pattern, layers)
        if held.learnt is not None:
            sizes = _sizes_learnt(held.model, held.learnt, wanted, recipe)
            rates = sized(held.model.architecture, layers, sizes)
            return Cut(recipe, metric, rates, overall(held.model, rates), layers, sizes)
        if pattern.request is None:
            kept = fit(layers, wanted, recipe.sparsity, pattern)
        else:
            seconds = held.seconds(pattern.request)
            kept = fit(layers, wanted, seconds.of_blocks(layers, recipe.sparsity), pattern, seconds.of)
        check_sayable(held.model, layers, kept)
        rates = sized(held.model.architecture, layers, kept)
        return Cut(recipe, metric, rates, overall(held.model, rates), layers, tuple(kept))

    def probe(self, held: Resident, ready: Cut) -> torch.Tensor:
        """Of the head groups and neurons of a few layers. Where only depth falls, the metric decides nothing and all
        recipes have one probe."""
        if not _pattern(ready.recipe).width:
            return torch.tensor([0.0, 1.0])
        found = []
        layers = [layer for layer in ready.layers if layer.units > 1]
        for layer in spread(layers, lambda layer: layer.sublayer):
            scores = unit_scores(_scores(held, ready.metric, layer), layer)
            found.append((ranks(scores).double() / (layer.units - 1)).cpu())
        return torch.cat(found)

    def search_form(self, held: Resident, ready: Cut) -> Made:
        """Zeros and compensation of every layer, from the dense model's statistics."""
        return _made(held, from_statistics(held.model, held.dense, held.statistics, ready))

    def final_form(self, held: Resident, ready: Cut, progress: Progress | None) -> Made:
        """Block after block, each on what the smaller ones before it put out."""
        layout = propagated(held.model, held.calibration, held.statistics, ready, progress=progress)
        return _made(held, layout)


WAY = Structures()


def _made(held: Resident, layout: Layout) -> Made:
    if held.learnt is None:
        return Smaller(held.model, layout)
    return LearntSmaller(held.model, layout, held.learnt)


def _sizes_learnt(model: Model, learnt: Learnt, wanted: Sequence[float], recipe: Recipe) -> tuple[int, ...]:
    """Units that stay in every layer of a model of a family that no entry names."""
    pattern, name = _pattern(recipe), type(model.network).__name__
    if pattern.shapes != "uniform":
        raise SecateurError(f"{name}: blocks that differ can only be written down where the family is known: use width")
    if pattern.request is not None:
        raise SecateurError(f"{name}: blocks of this family cannot be timed in parts: give --sparsity")
    return fit_alike(model, learnt, wanted, recipe.sparsity, pattern)


def _pattern(recipe: Recipe) -> Structured:
    assert isinstance(recipe.pattern, Structured), "the table of ways says so"
    return recipe.pattern


def _scores(held: Resident, metric: Node, layer: Layer) -> torch.Tensor:
    """(out, in) of the layer's consumer, dense."""
    name, statistics = layer.consumer.name, held.statistics
    return metric_scores(metric, used_terminals(metric), held.dense[name], statistics.inputs[name], name, statistics)


def _across(held: Resident, recipe: Recipe, layers: Sequence[Layer], metric: Node) -> list[float]:
    """The sparsity of every layer where structures are compared across the model (FLAP)."""
    return across_model([standardised(_scores(held, metric, of), of) for of in layers], layers, recipe.sparsity)


def _wanted(held: Resident, recipe: Recipe, pattern: Structured, layers: Sequence[Layer]) -> list[float]:
    """The sparsity that the allocation wants for every layer; `fit` makes the mean exact.

    For depth alone only the order counts: what has the lowest priority falls first. An explicit vector is taken as it
    is, so that a layer that shall fall whole (1) does.
    """
    wish, architecture = recipe.allocation, held.model.architecture
    members = units(architecture, wish.granularity)
    priority = priorities(held.layers, recipe)
    if wish.vector is not None:
        check_length(wish, members)
        rates = {p.name: rate for of, rate in zip(members, wish.vector, strict=True) for p in of.projections}
    elif priority is not None and pattern.kind == "depth":
        order = ranks(priority.neg()) / max(1, len(priority) - 1)
        rates = {p.name: float(rate) for of, rate in zip(members, order, strict=True) for p in of.projections}
    else:
        rates = allocation.sparsities(wish, members, recipe.sparsity, priority)
    sizes = {p.name: p.size for p in architecture.projections}
    named = [(*of.producers, of.consumer.name) for of in layers]
    return [sum(rates[n] * sizes[n] for n in names) / sum(sizes[n] for n in names) for names in named]
