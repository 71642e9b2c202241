"""The way of a kind of pattern: all that is done with a recipe of that kind, in one place.

A recipe is prepared once for a model (`Prepared`). What is prepared is probed, which tells whether another recipe would
choose the same; its search form is written into the resident model from the dense model's statistics, its final form
block after block on what the pruned blocks before put out. What a form made of the model (`Made`) says what is gone,
and hands out the result.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tools.prune.metric import reads_inputs
from tools.prune.prepared import Made, Prepared
from tools.recipe import Pattern, Recipe
from tools.recipe.pattern import WAYS

if TYPE_CHECKING:
    import torch

    from tools.model.checkpoint import Model
    from tools.prune.resident import Resident

Progress = Callable[[int, int], None]
"""Called with (blocks done, blocks in all)."""


P = TypeVar("P", bound=Prepared)


class Way(ABC, Generic[P]):
    """How recipes of one kind are applied. What most kinds do is here; each says where it does otherwise."""

    def reached(self, model: Model) -> int:
        """How many weights the kind can remove.

        Raises:
            SecateurError: the model has nothing of that kind.
        """
        return model.architecture.size

    def require(self, model: Model, sparsity: float) -> None:
        """Refuse, before anything is measured, what no recipe of this kind can do.

        Raises:
            SecateurError: the line says why.
        """

    def propagates(self, recipe: Recipe) -> bool:
        """Whether the final form is made block after block: where what the blocks before put out matters."""
        return reads_inputs(recipe)

    @abstractmethod
    def prepare(self, held: Resident, recipe: Recipe) -> P:
        """Decide how much of what falls; the statistics that the recipe needs are there.

        Raises:
            SecateurError: the metric or the allocation cannot be used on this model.
        """

    @abstractmethod
    def probe(self, held: Resident, ready: P) -> torch.Tensor:
        """Ranks (0 to 1) that the metric gives to a fixed sample of what may fall, flat. Where two recipes agree in
        them and in what falls, they are one candidate.

        Raises:
            SecateurError: its values are not finite, or all the same.
        """

    @abstractmethod
    def search_form(self, held: Resident, ready: P) -> Made:
        """Write the candidate into the model, from the dense weights and the dense model's statistics. Biases are dense
        when it begins, weights as the last candidate left them."""

    @abstractmethod
    def final_form(self, held: Resident, ready: P, progress: Progress | None) -> Made:
        """Prune the dense model, which is there when it begins."""


def way_of(pattern: Pattern) -> Way[Any]:
    """The way of the pattern's kind."""
    way: Way[Any] = import_module(f"{WAYS[pattern.kind]}.way").WAY
    return way
