"""Experts of a mixture fall first; of the model that has fewer, head groups and neurons fall.

The search form scores structures by the dense model's statistics, each expert by its own: no text is read for another
set of experts. The final form takes the statistics of the smaller mixture, whose routers send tokens elsewhere, and
then goes through it block after block, as if it had come with so few experts.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from tools.expression import ALLOCATION, EXPERTS, parse, used_terminals
from tools.io.errors import SecateurError
from tools.model.architecture.counted import groups_of
from tools.model.mixtures import mixtures_of
from tools.model.units import Granularity, units
from tools.prune.experts.mixtures import ResidentExperts, choose, size_of, stays
from tools.prune.experts.way import Fewer
from tools.prune.experts_and_width.pattern import ExpertsAndWidth
from tools.prune.experts_and_width.smaller import Smaller, Twins, renumbered, standing, twins_of
from tools.prune.metric import reads_inputs
from tools.prune.prepared import Made, Prepared
from tools.prune.structures.learnt.plan import Learnt
from tools.prune.structures.prepared import Cut
from tools.prune.structures.sizes import SLACK
from tools.prune.structures.way import WAY as WIDTH
from tools.prune.way import Progress, Way
from tools.recipe import Recipe
from tools.statistics.collect import collect

if TYPE_CHECKING:
    from tools.model.checkpoint import Model
    from tools.prune.resident import Resident

MOST = 0.95
"""The largest rate of a layer, and the largest share that width is asked for."""


@dataclass(frozen=True)
class Both(Prepared):
    """With the experts that stay, and what falls of the model that has them."""

    kept: Mapping[str, torch.Tensor]
    """Indices by mixture; empty where none falls."""
    width: Cut | None
    """None where experts pay for everything."""
    twins: Twins
    dense: tuple[int, int]
    """Weights of routers and experts, and of all that can fall."""


class ExpertsAndWidthWay(Way[Both]):
    """The way of `experts+width`."""

    def reached(self, model: Model) -> int:
        """Routers, experts and all other projections, each once."""
        count = mixtures_of(model)[0].units
        known = sum(p.size for p in model.architecture.projections if p.expert is not None and p.expert < count)
        return model.architecture.size - known + size_of(model)

    def require(self, model: Model, sparsity: float) -> None:
        """Of a model without experts every candidate would be refused; how narrow it gets, each says for itself."""
        mixtures_of(model)

    def propagates(self, recipe: Recipe) -> bool:
        """Where something falls in width."""
        return _pattern(recipe).share < 1 and reads_inputs(recipe)

    def prepare(self, held: Resident, recipe: Recipe) -> Both:
        """As few experts fall as pay their share; of what is left width pays the rest."""
        held.restore()
        pattern, dense = _pattern(recipe), (size_of(held.model), self.reached(held.model))
        wanted, count = recipe.sparsity * dense[1], mixtures_of(held.model)[0].units
        stay = _stays(held.model, count, wanted / dense[0], pattern.share)
        gone = dense[0] * (1 - stay / count)
        kept = _kept(held, pattern, stay) if stay < count else {}
        twins, width = twins_of(held.model, kept), None
        rates = dict.fromkeys(twins, 0.0)
        if wanted - gone > SLACK * dense[1]:
            losses = _losses(held, recipe, twins)
            with _fewer(held, kept, twins) as small:
                small.layers.losses = losses
                size = small.model.architecture.size
                width = WIDTH.prepare(small, _width(small, recipe, min(MOST, (wanted - gone) / size)))
            rates, gone = width.sparsity, gone + width.share * size
        shares = {p.name: 1.0 for p in held.model.architecture.projections}
        shares |= {name: rates[small_name] for small_name, name in twins.items()}
        return Both(recipe, parse(recipe.metric, recipe.language), shares, gone / dense[1], kept, width, twins, dense)

    def probe(self, held: Resident, ready: Both) -> torch.Tensor:
        """Of structures of the dense model, whichever experts fall, which what falls tells."""
        if ready.width is None:  # the metric decides nothing
            return torch.tensor([0.0, 1.0])
        return WIDTH.probe(held, replace(ready.width, layers=held.anatomy))

    def search_form(self, held: Resident, ready: Both) -> Made:
        """Both sides from the dense model's statistics."""
        return _made(held, ready, lambda small, cut: WIDTH.search_form(small, cut), lasts=False)

    def final_form(self, held: Resident, ready: Both, progress: Progress | None) -> Made:
        """The experts of the search form, and the width of a model that came with these alone."""

        def narrow(small: Resident, cut: Cut) -> Made:
            if ready.kept:
                small.statistics = collect(small.model, held.calibration, needs=ready.needs - {"routing"})
            return WIDTH.final_form(small, cut, progress)

        return _made(held, ready, narrow, lasts=True)


WAY = ExpertsAndWidthWay()


def _pattern(recipe: Recipe) -> ExpertsAndWidth:
    assert isinstance(recipe.pattern, ExpertsAndWidth), "the table of ways says so"
    return recipe.pattern


def _stays(model: Model, count: int, wanted: float, share: float) -> int:
    """How many experts of every mixture stay where they pay a share of what is wanted, counted in their weights."""
    try:
        return stays(model, count, min(1.0, share * wanted))
    except SecateurError as error:
        why = str(error).partition(": ")[2]
        raise SecateurError(f"{100 * share:.3g} % of what falls cannot be experts: {why}") from error


def _kept(held: Resident, pattern: ExpertsAndWidth, stay: int) -> Mapping[str, torch.Tensor]:
    groups = groups_of(held.model.network.config)
    return choose(parse(pattern.by, EXPERTS), held.statistics.routing, stay, groups)


def _width(small: Resident, recipe: Recipe, sparsity: float) -> Recipe:
    """What width has to do to the model with fewer experts; explicit rates are scaled to what is left to pay."""
    allocation = recipe.allocation
    if allocation.vector is not None:
        sizes = [unit.size for unit in units(small.model.architecture, allocation.granularity)]
        wide = len(sizes) == len(allocation.vector)
        paid = sum(r * size for r, size in zip(allocation.vector, sizes, strict=True)) / sum(sizes) if wide else 1.0
        rates = [min(MOST, rate * sparsity / paid) if paid else sparsity for rate in allocation.vector]
        allocation = allocation.model_copy(update={"vector": tuple(rates)}) if wide else allocation
    return recipe.model_copy(update={"pattern": _pattern(recipe).width, "sparsity": sparsity, "allocation": allocation})


_LEARNT: weakref.WeakKeyDictionary[Any, dict[int, Learnt | None]] = weakref.WeakKeyDictionary()
"""Networks -> what was learnt of their structures, by the number of experts."""


def _losses(held: Resident, recipe: Recipe, twins: Twins) -> Callable[[Granularity], list[float]] | None:
    """What the dense model loses without each unit, where the allocation reads it: measured before experts fall."""
    wish = recipe.allocation
    if wish.expression is None or wish.uniform or "loss" not in used_terminals(parse(wish.expression, ALLOCATION)):
        return held.layers.losses
    found = held.layers.terminals(frozenset({"loss"}), wish.granularity)["loss"].tolist()
    named = dict(zip((unit.name for unit in units(held.model.architecture, wish.granularity)), found, strict=True))
    values = [named[name] for name in twins.values()] if wish.granularity == "projection" else found
    return lambda granularity: values


@contextmanager
def _fewer(held: Resident, kept: Mapping[str, torch.Tensor], twins: Twins) -> Iterator[Resident]:
    """While open, the dense resident model holds these experts alone; itself where all stay."""
    if not kept:
        yield held
        return
    experts = ResidentExperts(held.model)
    experts.keep(kept)
    try:
        yield _seen(held, experts, kept, twins)
    finally:
        experts.restore()


def _seen(held: Resident, experts: ResidentExperts, kept: Mapping[str, torch.Tensor], twins: Twins) -> Resident:
    """The model with fewer experts, whose structures are learnt once for every number of experts."""
    count, known = len(next(iter(kept.values()))), _LEARNT.setdefault(held.model.network, {})
    small = standing(held, experts.smaller(), renumbered(held.statistics, twins), known.get(count))
    known[count] = small.learnt
    return small


def _made(held: Resident, ready: Both, narrow: Callable[[Resident, Cut], Made], *, lasts: bool) -> Smaller:
    """Both sides of a candidate, on the dense model."""
    held.restore()
    held.touched = True
    fewer = Fewer(held.model, ResidentExperts(held.model), ready.kept) if ready.kept else None
    if fewer is not None:
        fewer.again()
    try:
        width = None
        if ready.width is not None:
            small = held if fewer is None else _seen(held, fewer.experts, ready.kept, ready.twins)
            width = narrow(small, ready.width)
    except BaseException:
        if fewer is not None:
            fewer.undo()
        raise
    return Smaller(held.model, fewer, width, ready.twins, ready.dense, lasts)
