"""Published methods by name, as recipes."""

from __future__ import annotations

from collections.abc import Mapping

from tools.expression import EXPERT_METRICS, NAMED_ALLOCATIONS, NAMED_METRICS
from tools.io.errors import UsageError
from tools.recipe import (
    NM,
    Allocation,
    Calibration,
    Compensation,
    Experts,
    Pattern,
    Recipe,
    Structured,
    Unstructured,
)

_ALLOCATED = ("sdsa", "owl", "dlp", "atp")

STRUCTURED: Mapping[str, Recipe] = {
    "wanda_sp": Recipe(pattern=Structured(kind="width"), sparsity=0.5, metric=NAMED_METRICS["wanda"]),
    "flap": Recipe(
        pattern=Structured(kind="width", shapes="free", group="model"),
        sparsity=0.5,
        metric="sqr(W) * X_var",
        compensation=Compensation(kind="bias"),
    ),
    "taylor": Recipe(pattern=Structured(kind="width"), sparsity=0.5, metric="W * G"),
    "shortgpt": Recipe(
        pattern=Structured(kind="depth"),
        sparsity=0.5,
        metric=NAMED_METRICS["wanda"],
        allocation=Allocation(expression="redundancy", width=0.1),
    ),
}
"""Wanda-sp and FLAP (CASIA-IVA-Lab/FLAP lib/prune.py), Taylor importance (LLM-Pruner), ShortGPT's block influence. The
sparsity is a placeholder; the metric of a method that removes blocks decides nothing."""

METHODS: tuple[str, ...] = (*NAMED_METRICS, "sparsegpt", *_ALLOCATED, *STRUCTURED, *EXPERT_METRICS)
"""Named metrics (mask only, uniform), SparseGPT, named allocations over Wanda's metric, and methods for structures and
for experts."""


def references(pattern: Pattern) -> tuple[str, ...]:
    """The published methods that a result under this pattern has to beat."""
    if isinstance(pattern, Experts):
        return tuple(EXPERT_METRICS)
    if not isinstance(pattern, Structured):
        return ("magnitude", "wanda", "sparsegpt")
    return (*(("wanda_sp", "flap") if pattern.width else ()), *(("shortgpt",) if pattern.depth else ()))


def reference(name: str, sparsity: float, pattern: Pattern, calibration: Calibration) -> Recipe:
    """What a method means as a reference, in every place that compares with it: as its authors publish it.

    Each has the comparison group of its own paper (Wanda the row, magnitude and SparseGPT the matrix), whatever group a
    search may choose from; N:M, structures and experts prescribe theirs.
    """
    return method(name, sparsity, None if isinstance(pattern, Unstructured) else pattern, calibration)


def named_allocation(name: str) -> Allocation:
    """uniform, sdsa, owl, dlp or atp with the width its authors use."""
    expression, width = NAMED_ALLOCATIONS[name]
    return Allocation(expression=expression, width=width)


def method(
    name: str, sparsity: float, pattern: Pattern | None = None, calibration: Calibration | None = None
) -> Recipe:
    """The recipe of a published method.

    Without a pattern the method's own comparison group is used: the whole matrix for magnitude and SparseGPT (within
    its column batches), the row for the others. Under a pattern whose structures fall, a metric scores structures. A
    method for structures keeps its own pattern and takes only the multiple and the request of the one given. Methods
    for experts and those for anything else have nothing in common.

    Raises:
        UsageError: no method has that name, or it cannot be meant under the pattern.
    """
    if name not in METHODS:
        raise UsageError(f'method "{name}" is not known; there are {", ".join(METHODS)}')
    calibration = calibration or Calibration()
    if name in EXPERT_METRICS:
        return _of_experts(name, sparsity, pattern, calibration)
    if isinstance(pattern, Experts):
        raise UsageError(f"{name} scores weights: for experts use {' or '.join(EXPERT_METRICS)}")
    if name in STRUCTURED:
        return _structured(name, sparsity, pattern, calibration)
    if isinstance(pattern, Structured) and name == "sparsegpt":
        raise UsageError("sparsegpt removes single weights: for width or depth use wanda_sp, flap, taylor or shortgpt")
    whole = name in ("magnitude", "sparsegpt")
    metric = NAMED_METRICS.get(name) or NAMED_METRICS["obs" if name == "sparsegpt" else "wanda"]
    return Recipe(
        pattern=pattern or Unstructured(group="matrix" if whole else "row"),
        sparsity=sparsity,
        metric=metric,
        allocation=named_allocation(name) if name in _ALLOCATED else Allocation(),
        compensation=Compensation(kind="obs" if name == "sparsegpt" else "none"),
        calibration=calibration,
    )


def _of_experts(name: str, sparsity: float, pattern: Pattern | None, calibration: Calibration) -> Recipe:
    if pattern not in (None, Experts(), Unstructured()):
        raise UsageError(f"{name} removes experts: leave the pattern out, or give experts")
    return Recipe(pattern=Experts(), sparsity=sparsity, metric=EXPERT_METRICS[name], calibration=calibration)


def _structured(name: str, sparsity: float, pattern: Pattern | None, calibration: Calibration) -> Recipe:
    recipe = STRUCTURED[name]
    own = recipe.pattern
    assert isinstance(own, Structured)
    if isinstance(pattern, Structured):
        own = own.model_copy(update={"multiple": pattern.multiple, "request": pattern.request})
    elif isinstance(pattern, NM) or (pattern is not None and pattern != Unstructured()):
        raise UsageError(f"{name} removes structures: leave the pattern out, or give {own.kind}")
    return recipe.model_copy(update={"pattern": own, "sparsity": sparsity, "calibration": calibration})
