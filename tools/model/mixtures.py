"""Mixtures of experts: where a model has them, and how many experts each holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tools.io.errors import SecateurError

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
    count: str
    """The configuration's field for that number."""


def mixtures_of(model: Model) -> tuple[Mixture, ...]:
    """Every mixture of a model as it is now, in forward order.

    Raises:
        SecateurError: the model has no experts, or none of a family that is known.
    """
    family = model.architecture.family
    found = []
    if family is not None and family.experts is not None:
        present = {name for name, _ in model.network.named_modules()}
        for block in range(model.architecture.n_blocks):
            router, experts = (f"{family.blocks}.{block}.{p}" for p in (family.experts.router, family.experts.experts))
            if experts in present:
                units = len(next(model.network.get_submodule(router).parameters()))
                found.append(Mixture(router, experts, units, family.experts.count))
    if not found:
        name = type(model.network).__name__
        raise SecateurError(f"{name} has no experts that are known here: use --pattern unstructured")
    return tuple(found)
