"""A recipe made ready for a model, and what one of its forms made of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from tools.expression import Node, used_terminals
from tools.model.sparsity import overall, sparsities
from tools.prune.metric import needs_of
from tools.recipe import Recipe

if TYPE_CHECKING:
    from tools.model.checkpoint import Model


@dataclass(frozen=True)
class Prepared:
    """A recipe made ready for one model. What a kind needs beside this is in a class of its own."""

    recipe: Recipe
    metric: Node
    sparsity: dict[str, float]
    """What falls of every projection; of every mixture where experts do."""
    share: float
    """What falls of all that the pattern can remove."""

    @cached_property
    def needs(self) -> frozenset[str]:
        """Which optional statistics the recipe reads."""
        return needs_of(self.recipe)

    @cached_property
    def terminals(self) -> frozenset[str]:
        """Which terminals its metric uses."""
        return used_terminals(self.metric)

    @property
    def of_this_machine(self) -> str:
        """What the same recipe comes to on this machine only; empty where it is the same everywhere."""
        return ""


@dataclass
class Made:
    """What a form made of the resident model: zeros among its weights, unless a kind says otherwise."""

    model: Model
    resizes: ClassVar[bool] = False
    """Whether parameters of the resident model have other shapes meanwhile."""

    def gone(self) -> dict[str, float]:
        """What is gone, from the weights as they are: the share of every projection, or of every mixture."""
        return sparsities(self.model)

    def share(self) -> float:
        """What is gone of all that the pattern can remove."""
        return overall(self.model, self.gone())

    def result(self) -> Model:
        """The model to be saved: the resident one, or a smaller one."""
        return self.model

    def undo(self) -> None:
        """Put back what is neither weight nor bias of a projection."""

    def again(self) -> None:
        """Take it away again, after weights and biases were put back."""
