"""Who keeps more: an allocation, as data."""

from __future__ import annotations

from pydantic import Field, model_validator

from tools.io.frozen import Frozen
from tools.model.units import Granularity


class Allocation(Frozen):
    """Who keeps more: an expression over layer statistics, or an explicit vector of sparsities.

    The expression's value is a priority q, one number per unit (a block, a layer, that is attention or MLP of a
    block, or a projection). It is min-max scaled to [0, 1] and becomes

        keep = (1 - S) + 2 * width * (q - mean q),    bounded, then shifted until the weighted mean is exact,

    which is OWL's map (luuyin/OWL lib/prune_all.py l.139-154) and holds DLP's and ATP's as special cases.
    """

    expression: str | None = "uniform"
    vector: tuple[float, ...] | None = None
    width: float = Field(default=0.0, ge=0.0, le=0.5)
    granularity: Granularity = "block"
    bounds: tuple[float, float] = (0.0, 1.0)
    """Smallest and largest sparsity a unit may get."""

    @model_validator(mode="after")
    def _one_form(self) -> Allocation:
        if (self.expression is None) == (self.vector is None):
            raise ValueError("give either an expression or a vector")
        if self.vector is not None and not all(0.0 <= s <= 1.0 for s in self.vector):
            raise ValueError("every sparsity of the vector lies between 0 and 1")
        low, high = self.bounds
        if not 0.0 <= low < high <= 1.0:
            raise ValueError("bounds are two sparsities, 0 <= low < high <= 1")
        return self

    @property
    def uniform(self) -> bool:
        """Whether every unit gives the same share."""
        return self.expression == "uniform" or (self.vector is None and self.width == 0.0)

    def __str__(self) -> str:
        if self.uniform:
            return "uniform"
        body = self.expression if self.expression is not None else "evolved rates"
        width = f" ±{self.width:g}" if self.expression is not None else ""
        return f"{body}{width} per {self.granularity}"
