"""Experts that fall: what a model has, how many stay, how they are used, and a model that holds only those that stay.

The router chooses among what is there, so a model without an expert is not the one with that expert's weights at zero:
a candidate's parameters really are smaller, in the resident model too. The dense ones are only put aside, and come back
bit by bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from tools.expression import Node, evaluate
from tools.io.errors import SecateurError
from tools.model.architecture import family_of
from tools.model.blocks import trunk_of
from tools.prune.structures.scores import highest
from tools.prune.structures.sizes import SLACK

if TYPE_CHECKING:
    from tools.model.checkpoint import Model


@dataclass(frozen=True)
class Mixture:
    """The experts of one block, and the router that chooses among them for every token."""

    router: str
    """Path of the module."""
    experts: str
    """Path of the module; also what the mixture is called."""
    units: int
    """Number of experts."""


def mixtures_of(model: Model) -> tuple[Mixture, ...]:
    """Every mixture of a model as it is now, in forward order.

    Raises:
        SecateurError: the model has no experts, or none of a family that is known.
    """
    family = family_of(model.architecture)
    found = []
    if family is not None and family.experts is not None:
        present = {name for name, _ in model.network.named_modules()}
        for block in range(model.architecture.n_blocks):
            router, experts = (f"{family.blocks}.{block}.{p}" for p in (family.experts.router, family.experts.experts))
            if experts in present:
                found.append(Mixture(router, experts, len(next(model.network.get_submodule(router).parameters()))))
    if not found:
        name = type(model.network).__name__
        raise SecateurError(f"{name} has no experts that are known here: use --pattern unstructured")
    return tuple(found)


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


def routed(model: Model, batches: Iterable[torch.Tensor]) -> dict[str, torch.Tensor]:
    """How the experts are used on a text: one forward pass, of which only sums are kept.

    Returns:
        By the name of every mixture (2, experts) float64: tokens that are routed to an expert, as a share of all
        tokens, and the sum over these of router weight times norm of the expert's output, over their number (REAP's
        saliency, CerebrasResearch/reap; 0 for an expert that no token reaches).
    """
    found: dict[str, torch.Tensor] = {}
    handles = []
    for of in mixtures_of(model):
        found[of.experts] = torch.zeros(2, of.units, dtype=torch.float64, device=model.device)
        hook = _adding(found[of.experts])
        handles.append(model.network.get_submodule(of.experts).register_forward_pre_hook(hook))
    tokens, trunk = 0, trunk_of(model.network, model.architecture.blocks)
    try:
        with torch.inference_mode():
            for ids in batches:
                tokens += ids.numel()
                trunk(ids.to(model.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return {name: torch.stack([sums[0] / tokens, sums[1] / sums[0].clamp_min(1)]) for name, sums in found.items()}


def _adding(sums: torch.Tensor) -> Callable[..., None]:
    """A hook that adds to `sums` (2, experts): tokens, and router weight times norm of the output."""

    def hook(module: Any, args: tuple[Any, ...]) -> None:
        hidden, chosen, weights = args  # (tokens, width), (tokens, k), (tokens, k)
        for expert in chosen.unique().tolist():
            token, place = torch.where(chosen == expert)
            alone = chosen.new_full((len(token), 1), expert)
            # The module's own forward with a router weight of one: what this expert alone says to its tokens.
            said = module.forward(hidden[token], alone, weights.new_ones(len(token), 1))
            norm = torch.linalg.vector_norm(said.float(), dim=-1)
            sums[0, expert] += len(token)
            sums[1, expert] += torch.dot(weights[token, place].double(), norm.double())

    return hook


def expert_scores(metric: Node, used: torch.Tensor) -> torch.Tensor:
    """(experts,) float64; the lowest fall.

    Args:
        used: (2, experts) of one mixture, see `routed`.
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
        family = family_of(self.model.architecture)
        assert family is not None, "mixtures were found, so the family is known"
        assert family.experts is not None, "as above"
        network: Any = self.model.network
        setattr(network.config.get_text_config(), family.experts.count, count)
        network.num_experts = count
        for of in self.mixtures:
            for path in (of.router, of.experts):
                self._module(path).num_experts = count

    def _module(self, path: str) -> Any:
        return self.model.network.get_submodule(path)
