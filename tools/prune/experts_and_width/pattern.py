"""Whole experts and structures in width together, as data."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationError

from tools.expression.operators import Group
from tools.io.errors import UsageError
from tools.io.frozen import first_problem
from tools.recipe.pattern import Pattern, Structured
from tools.recipe.request import Request

OF_EXPERTS = ("frequency", "reap")
"""Methods that are of experts alone, and of width alone."""
OF_WIDTH = ("wanda_sp", "taylor")


class ExpertsAndWidth(Pattern):
    """Experts of a mixture go, as many in every block that has any; of what is left head groups and neurons go, as many
    of the same kind everywhere, those inside experts included. The result is an ordinary model of its family.

    A recipe's metric scores weights, so it ranks structures only. What experts are chosen by reads other statistics and
    has two published forms, so it is a word here, beside their share, and no second metric that every other kind would
    carry along.
    """

    kind: Literal["experts+width"] = "experts+width"
    share: float = Field(default=0.5, ge=0.0, le=1.0)
    """How much of what falls are whole experts, at least, as they are few; width pays the rest."""
    by: Literal["frequency", "reap"] = "reap"
    """What experts are chosen by: how often they are, or REAP."""
    multiple: int = Field(default=64, ge=1, le=8192)
    """Neurons are kept in multiples of this."""

    fells: ClassVar[str] = "experts and structures"
    zeros: ClassVar[bool] = False
    faster: ClassVar[bool] = True
    by_layer: ClassVar[bool] = True
    compensations: ClassVar[tuple[str, ...]] = ("least_squares",)
    statistics: ClassVar[frozenset[str]] = frozenset({"routing"})

    @property
    def width(self) -> Structured:
        """What falls of the model that has lost its experts."""
        return Structured(kind="width", multiple=self.multiple)

    @property
    def even(self) -> bool:
        return True

    @property
    def references(self) -> tuple[str, ...]:
        """The published methods of either side, each of which pays alone for all that falls."""
        return (*OF_EXPERTS, "wanda_sp")

    @property
    def comparison(self) -> Group:
        return "matrix"

    @property
    def option(self) -> str:
        return self.kind

    @property
    def title(self) -> str:
        return self.kind

    def only(self, side: str) -> Pattern:
        """With the whole of what falls on one side."""
        shares = {"experts": 1.0, "width": 0.0}
        return self.model_copy(update={"share": shares[side]}) if side in shares else self

    def meant_by(self, method: str) -> dict[str, Any]:
        """Methods of one side fell that side alone, so that all remove as much."""
        if method in OF_EXPERTS:
            return {"pattern": self.model_copy(update={"share": 1.0, "by": method}), "metric": "W * X"}
        return {"pattern": self.only("width")} if method in OF_WIDTH else {}

    def in_multiples(self, multiple: int) -> Pattern:
        try:
            return ExpertsAndWidth.model_validate(self.model_dump() | {"multiple": multiple})
        except ValidationError as error:
            raise UsageError(f"--{first_problem(error)}") from error

    def counting(self, request: Request) -> Pattern:
        raise UsageError(f"what {self.kind} removes cannot be timed in parts: give --sparsity in place of --speedup")

    @property
    def split(self) -> str:
        """Which side pays how much."""
        named = "REAP" if self.by == "reap" else self.by
        if self.share in (0, 1):
            return f"experts alone by {named}" if self.share else "width alone"
        return f"{100 * self.share:.3g} % of it experts by {named}"

    def __str__(self) -> str:
        return f"{self.kind} ({self.split})"


PATTERN = ExpertsAndWidth
