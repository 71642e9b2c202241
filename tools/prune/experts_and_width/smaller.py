"""A resident model that holds fewer experts, as the way of width sees it, and what both ways made of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch

from tools.model.architecture import weight
from tools.model.mixtures import mixtures_of
from tools.model.sparsity import overall
from tools.prune.experts.mixtures import size_of, slices_of
from tools.prune.experts.way import Fewer
from tools.prune.prepared import Made
from tools.statistics.collect import Statistics
from tools.statistics.layers import LayerStatistics

if TYPE_CHECKING:
    from tools.model.checkpoint import Model
    from tools.prune.resident import Resident
    from tools.prune.structures.learnt.plan import Learnt

Twins = Mapping[str, str]
"""Projection of the model with fewer experts -> the same one of the dense model."""


def twins_of(model: Model, kept: Mapping[str, torch.Tensor]) -> Twins:
    """In forward order, of the dense model and the experts of every mixture that stay; all where none falls."""
    projections = model.architecture.projections
    found = {p.name: p.name for p in projections if p.expert is None or not kept}
    slices = slices_of(model)
    for of in mixtures_of(model) if kept else ():
        inside = [p for p in projections if p.expert is not None and p.name.startswith(f"{of.experts}.")]
        names = {(p.kin, p.expert): p.name for p in inside}
        for kin in {p.kin for p in inside}:
            stay = [*kept[of.experts].tolist(), *range(of.units, slices[kin])]  # what is no expert is last
            found |= {names[kin, new]: names[kin, old] for new, old in enumerate(stay)}
    return {p.name: found[p.name] for p in projections if p.name in found}


def renumbered(statistics: Statistics, twins: Twins) -> Statistics:
    """What is known of the dense model, by the names that its projections have in the one with fewer experts."""
    return Statistics(
        inputs={name: statistics.inputs[dense] for name, dense in twins.items()},
        redundancy=statistics.redundancy,
        gradient={name: statistics.gradient[dense] for name, dense in twins.items() if dense in statistics.gradient},
        regional={name: statistics.regional[dense] for name, dense in twins.items() if dense in statistics.regional},
        text=statistics.text,
    )


def standing(held: Resident, small: Model, statistics: Statistics, learnt: Learnt | None) -> Resident:
    """The resident model while it holds fewer experts: its weights are those that are there now."""
    found = copy.copy(held)
    for name in ("anatomy", "learnt"):
        vars(found).pop(name, None)
    found.model, found.statistics = small, statistics
    found.made, found.touched = None, False
    found.dense = {p.name: weight(small.network, p) for p in small.architecture.projections}
    found.layers = LayerStatistics(small, found.dense, statistics)
    if learnt is not None:
        vars(found)["learnt"] = learnt
    return found


@dataclass
class Smaller(Made):
    """A model that holds only some of its experts, with zeros where structures of what is left fell."""

    resizes: ClassVar[bool] = True
    experts: Fewer | None
    """None where none falls."""
    width: Made | None
    """None where experts pay for everything."""
    twins: Twins
    dense: tuple[int, int]
    """Weights of the dense model: of routers and experts, and of all that the pattern can remove."""
    lasts: bool
    """Whether it may come back after it was undone."""
    _aside: dict[str, torch.Tensor] = field(default_factory=dict)
    """(out, in) of every matrix of an expert, on the CPU, while it is undone."""

    def gone(self) -> dict[str, float]:
        """By projection of the dense model: all of those whose expert fell, of others what is really zero."""
        found = {p.name: 1.0 for p in self.model.architecture.projections}
        narrowed = {} if self.width is None else self.width.gone()
        return found | {dense: narrowed.get(name, 0.0) for name, dense in self.twins.items()}

    def share(self) -> float:
        """Of all routers, experts and other projections, from the weights as they are."""
        experts, every = self.dense
        gone = experts - size_of(self.model)
        if self.width is not None:
            small = self.width.model
            gone += round(overall(small, self.width.gone()) * small.architecture.size)
        return gone / every

    def result(self) -> Model:
        """The model without what fell."""
        if self.width is not None:
            return self.width.result()
        assert self.experts is not None, "something falls"
        return self.experts.result()

    def undo(self) -> None:
        """Put all experts back; what was made of those that stayed is put aside, as snapshots hold none of it."""
        if self.lasts:
            self._aside = {p: w.to("cpu", copy=True) for p, w in self._of_experts().items()}
        if self.width is not None:
            self.width.undo()
        if self.experts is not None:
            self.experts.undo()

    def again(self) -> None:
        """Keep only the chosen experts again, as they were."""
        if self.experts is not None:
            self.experts.again()
        with torch.inference_mode():
            for name, held in self._of_experts().items():
                held.copy_(self._aside[name])
        if self.width is not None:
            self.width.again()

    def _of_experts(self) -> dict[str, torch.Tensor]:
        """The matrices of the experts that are there, views."""
        known = {p.name: p for p in self.model.architecture.projections}
        there = [known[name] for name in self.twins if known[name].expert is not None]
        return {p.name: weight(self.model.network, p) for p in there}
