"""How much of a model a pattern can remove: routers and what no forward pass calls stay as they are.

A sparsity is one of the weights that are reached. Where these are a small part of the model, as in a mixture whose
experts are left alone, "50 %" alone would promise what nobody gets, so the reach stands beside it everywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tools.io.errors import SecateurError
from tools.io.frozen import Frozen
from tools.recipe import Pattern

if TYPE_CHECKING:
    from tools.model.checkpoint import Model

LOW = 0.8
"""Share of the blocks' weights below which a reach is told before anything starts."""


class Reach(Frozen):
    """Numbers of weights."""

    weights: int
    """Those that the pattern can remove."""
    blocks: int
    """All of the blocks."""
    model: int
    """All of the model; a matrix that is used twice counts once."""
    uncalled: int = 0
    """Those of the blocks that no causal pass calls: a decoder's cross-attention without its encoder."""

    @property
    def share(self) -> float:
        """Of the blocks' weights that a causal pass calls."""
        return self.weights / (self.blocks - self.uncalled)

    def of_model(self, sparsity: float) -> float:
        """The share of the whole model that a sparsity comes to."""
        return sparsity * self.weights / self.model

    def __str__(self) -> str:
        model = f"{100 * self.of_model(1):.1f} % of the model's"
        if not self.uncalled:
            return f"{100 * self.share:.1f} % of the blocks' weights, {model}"
        rest = f"{self.uncalled:,} weights that it does not call stay as they are"
        return f"{100 * self.share:.1f} % of the blocks' weights that a causal pass calls, {model} ({rest})"

    def told(self, sparsity: float) -> str:
        """What a sparsity is a share of, and what it comes to in the whole model."""
        return f"{self}: {100 * sparsity:.3g} % of that is {100 * self.of_model(sparsity):.2g} % of the model"

    def warning(self, pattern: Pattern, sparsity: float) -> str:
        """What to know before anything starts; empty where nearly all of the blocks is reached."""
        if self.share >= LOW:
            return ""
        return (
            f"{pattern} reaches only {self}: the rest stays as it is. {100 * sparsity:.3g} % of what is reached is "
            f"{100 * self.of_model(sparsity):.2g} % of the model."
        )


def reach_of(model: Model, pattern: Pattern) -> Reach:
    """The reach of a pattern on an opened model (values are not looked at).

    Raises:
        SecateurError: experts shall fall, and there are none that are known.
    """
    from tools.prune.way import way_of

    every = sum(parameter.numel() for parameter in model.network.parameters())
    architecture = model.architecture
    blocks, uncalled = architecture.block_weights, architecture.uncalled
    return Reach(weights=way_of(pattern).reached(model), blocks=blocks, model=every, uncalled=uncalled)


def check_here(name: str, cache: Path, pattern: Pattern, sparsity: float) -> None:
    """Refuse what no recipe of a pattern can do to a model that lies here as a folder, from its configuration alone;
    of others nothing is known before they are opened.

    Raises:
        SecateurError: the line says why.
    """
    from tools.model.checkpoint import local_folder, outline
    from tools.prune.way import way_of

    folder = local_folder(name, cache)
    if folder is None:
        return
    way, model = way_of(pattern), outline(name, folder)
    way.reached(model)
    way.require(model, sparsity)


def foreseen(name: str, cache: Path, pattern: Pattern) -> Reach | None:
    """The reach on a model that lies here as a folder, from its configuration alone; None where it would have to be
    fetched or converted first, or cannot be told."""
    from tools.model.checkpoint import local_folder, outline

    try:
        folder = local_folder(name, cache)
        return None if folder is None else reach_of(outline(name, folder), pattern)
    except SecateurError:  # whoever opens it will say why
        return None
