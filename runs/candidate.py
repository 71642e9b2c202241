"""A candidate: a recipe with its origin."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from runs.plain import plain
from tools.io.frozen import Frozen
from tools.recipe import Recipe

# Terminals and models hand on broken characters as lone surrogates, which a line of the journal cannot carry; control
# characters would act on the terminal of whoever reads the journal.
Text = Annotated[str, AfterValidator(plain)]
"""Free text that a person or a model wrote, in which `plain` left only what shows."""


class Candidate(Frozen):
    """A recipe that was proposed in a run, who its parents are and why it is worth a try."""

    id: str = Field(pattern=r"^c-\d+$")
    """`c-18`, counted up within the run."""
    recipe: Recipe
    parents: tuple[str, ...] = ()
    """Ids of the candidates of this run that it was made from."""
    operator: str
    """How it was made: `seed`, `recall`, `mutate`, `crossover`, ..."""
    why: Text = ""
    thoughts: tuple[str, ...] = ()
    """Ids of the thoughts that led to it."""
    generation: int = Field(default=0, ge=0)
    designer: str = ""
    """Who proposed it, where it was not the run's first generation."""
    template: str = ""
    """The prompt template that it answers, if any."""


class PastCandidate(Frozen):
    """A candidate of an earlier run, as memory handed it over."""

    id: str
    """`run/candidate`."""
    model: str
    recipe: Recipe
    similarity: float
    """0 to 1: how near its model, pattern and sparsity are to this run's."""
    relative: float | None
    """Its divergence over that of the best reference of its run: below 1 it won."""
