"""Published methods by name, as recipes."""

from __future__ import annotations

from tools.errors import UsageError
from tools.expression import NAMED_ALLOCATIONS, NAMED_METRICS
from tools.recipe import NM, Allocation, Calibration, Compensation, Recipe, Unstructured

_ALLOCATED = ("sdsa", "owl", "dlp", "atp")
METHODS: tuple[str, ...] = (*NAMED_METRICS, "sparsegpt", *_ALLOCATED)
"""Named metrics (mask only, uniform), SparseGPT, and named allocations over Wanda's metric."""


def named_allocation(name: str) -> Allocation:
    """uniform, sdsa, owl, dlp or atp with the width its authors use."""
    expression, width = NAMED_ALLOCATIONS[name]
    return Allocation(expression=expression, width=width)


def method(
    name: str, sparsity: float, pattern: Unstructured | NM | None = None, calibration: Calibration | None = None
) -> Recipe:
    """The recipe of a published method.

    Without a pattern the method's own comparison group is used: the whole matrix for magnitude and SparseGPT (within
    its column batches), the row for the others.

    Raises:
        UsageError: no method has that name.
    """
    if name not in METHODS:
        raise UsageError(f'method "{name}" is not known; there are {", ".join(METHODS)}')
    whole = name in ("magnitude", "sparsegpt")
    metric = NAMED_METRICS.get(name) or NAMED_METRICS["obs" if name == "sparsegpt" else "wanda"]
    return Recipe(
        pattern=pattern or Unstructured(group="matrix" if whole else "row"),
        sparsity=sparsity,
        metric=metric,
        allocation=named_allocation(name) if name in _ALLOCATED else Allocation(),
        compensation=Compensation(kind="obs" if name == "sparsegpt" else "none"),
        calibration=calibration or Calibration(),
    )
