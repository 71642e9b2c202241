"""Experts that fall: how many stay, which ones, and a model that holds only those that stay.

The router chooses among what is there, so a model without an expert is not the one with that expert's weights at zero:
a candidate's parameters really are smaller, in the resident model too. The dense ones are only put aside, and come back
bit by bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from tools.expression import Node, evaluate
from tools.io.errors import SecateurError
from tools.model.mixtures import mixtures_of
from tools.prune.structures.scores import highest
from tools.prune.structures.sizes import SLACK

if TYPE_CHECKING:
    from tools.model.checkpoint import Model


def staying(units: int, chosen: int, sparsity: float) -> int:
    """Experts of every block that stay: at least `sparsity` falls, and less than one expert of each block more.

    Args:
        units: experts of a block. chosen: those that the router chooses for a token.

    Raises:
        SecateurError: the router would have too few left to choose from.
    """
    kept = units - math.ceil((sparsity - SLACK) * units)
    if kept < chosen:
        each = f"every token goes through {chosen} of {units} experts"
        raise SecateurError(
            f"{sparsity:.4g} cannot be removed by experts: {each}, so {chosen / units:.4g} of their weights would be "
            "left at the least. Ask for less."
        )
    return kept


def expert_scores(metric: Node, used: torch.Tensor) -> torch.Tensor:
    """(experts,) float64; the lowest fall.

    Args:
        used: (2, experts) of one mixture, see `tools.statistics.routing.routed`.
    """
    return evaluate(metric, {"frequency": used[0], "reap": used[1]})


def choose(metric: Node, routing: Mapping[str, torch.Tensor], count: int) -> dict[str, torch.Tensor]:
    """Indices, ascending, of the `count` experts of every mixture that stay."""
    return {name: highest(expert_scores(metric, used), count) for name, used in routing.items()}


class ResidentExperts:
    """The experts of a resident model: all of them, or those that a candidate keeps."""

    def __init__(self, model: Model) -> None:
        """Put the dense parameters aside; nothing is copied."""
        self.model = model
        self.mixtures = mixtures_of(model)
        self.kept: Mapping[str, torch.Tensor] | None = None
        """Indices of the experts that are there, by mixture; None for all."""
        self._dense = {
            (path, name): parameter
            for of in self.mixtures
            for path in (of.router, of.experts)
            for name, parameter in model.network.get_submodule(path).named_parameters()
        }

    def keep(self, kept: Mapping[str, torch.Tensor]) -> None:
        """Have the model hold only these experts, its configuration included, so that it can be saved as it is.

        Args:
            kept: indices by mixture, ascending, as many for one as for another.
        """
        stay = {path: kept[of.experts] for of in self.mixtures for path in (of.router, of.experts)}
        for (path, name), parameter in self._dense.items():
            smaller = torch.nn.Parameter(parameter.detach()[stay[path]], requires_grad=False)
            self.model.network.get_submodule(path).register_parameter(name, smaller)
        self._count(len(kept[self.mixtures[0].experts]))
        self.kept = dict(kept)

    def restore(self) -> None:
        """Put the dense parameters back."""
        for (path, name), parameter in self._dense.items():
            self.model.network.get_submodule(path).register_parameter(name, parameter)
        self._count(self.mixtures[0].units)
        self.kept = None

    def smaller(self) -> Model:
        """The model as it is now, described with the experts that it has."""
        if self.kept is None:
            return self.model
        whole, count = self.model.architecture, len(self.kept[self.mixtures[0].experts])
        there = {p.name for p in whole.projections if p.part is None or p.part.expert < count}
        return replace(self.model, architecture=whole.only(there))

    def shares(self) -> dict[str, float]:
        """The share of every mixture's weights that is gone, by its name, from the parameters as they are."""
        found = {}
        for of in self.mixtures:
            there = sum(p.numel() for path in (of.router, of.experts) for p in self._module(path).parameters())
            dense = sum(p.numel() for (path, _), p in self._dense.items() if path in (of.router, of.experts))
            found[of.experts] = 1 - there / dense
        return found

    def _count(self, count: int) -> None:
        """Write the number of experts wherever transformers keeps it."""
        network: Any = self.model.network
        setattr(network.config.get_text_config(), self.mixtures[0].count, count)
        network.num_experts = count
        for of in self.mixtures:
            for path in (of.router, of.experts):
                self._module(path).num_experts = count

    def _module(self, path: str) -> Any:
        return self.model.network.get_submodule(path)
