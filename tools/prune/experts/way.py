"""Experts of a mixture fall, as many in every block that has any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from tools.expression import parse
from tools.model.architecture.counted import groups_of
from tools.model.mixtures import mixtures_of
from tools.prune.experts.mixtures import ResidentExperts, choose, expert_scores, size_of, stays
from tools.prune.prepared import Made, Prepared
from tools.prune.way import Progress, Way
from tools.prune.weights.masks import ranks
from tools.recipe import Recipe

if TYPE_CHECKING:
    from tools.model.checkpoint import Model
    from tools.prune.resident import Resident


@dataclass(frozen=True)
class Chosen(Prepared):
    """With how many experts of every mixture stay."""

    stay: int


@dataclass
class Fewer(Made):
    """A model that holds only some of its experts; the resident model itself is smaller."""

    resizes: ClassVar[bool] = True
    experts: ResidentExperts
    kept: Mapping[str, torch.Tensor]
    """Indices of those that stay, by mixture."""

    def gone(self) -> dict[str, float]:
        """By mixture, from the parameters that are left."""
        return self.experts.shares()

    def share(self) -> float:
        """The mean over mixtures, each of which loses as many experts."""
        shares = self.gone()
        return sum(shares.values()) / len(shares)

    def result(self) -> Model:
        """The resident model, described as it is now."""
        return self.experts.smaller()

    def undo(self) -> None:
        """Put all experts back."""
        self.experts.restore()

    def again(self) -> None:
        """Keep only the chosen experts again."""
        self.experts.keep(self.kept)


class Experts(Way[Chosen]):
    """The way of `experts`."""

    def reached(self, model: Model) -> int:
        """All weights of routers and experts."""
        return size_of(model)

    def require(self, model: Model, sparsity: float) -> None:
        """Of no experts, or too few, every candidate would be refused."""
        stays(model, mixtures_of(model)[0].units, sparsity)

    def propagates(self, recipe: Recipe) -> bool:
        """Never: experts are chosen by the dense model's routing."""
        return False

    def prepare(self, held: Resident, recipe: Recipe) -> Chosen:
        """As many experts stay in every mixture, a whole number: the share is that number's, not the recipe's."""
        routing = held.statistics.routing
        units = next(iter(routing.values())).shape[1]  # the model may hold fewer of them now
        stay = stays(held.model, units, recipe.sparsity)
        rates = dict.fromkeys(routing, 1 - stay / units)
        return Chosen(recipe, parse(recipe.metric, recipe.language), rates, 1 - stay / units, stay)

    def probe(self, held: Resident, ready: Chosen) -> torch.Tensor:
        """Of all experts."""
        found = [expert_scores(ready.metric, routing) for _, routing in sorted(held.statistics.routing.items())]
        return torch.cat([(ranks(s).double() / max(1, len(s) - 1)).cpu() for s in found])

    def search_form(self, held: Resident, ready: Chosen) -> Fewer:
        """Keep the experts that matter to the dense model, as REAP has it: search and final form are one."""
        held.restore()
        held.touched = True
        kept = choose(ready.metric, held.statistics.routing, ready.stay, groups_of(held.model.network.config))
        made = Fewer(held.model, ResidentExperts(held.model), kept)
        made.again()
        return made

    def final_form(self, held: Resident, ready: Chosen, progress: Progress | None) -> Fewer:
        """The search form: nothing is gained block after block."""
        return self.search_form(held, ready)


WAY = Experts()
