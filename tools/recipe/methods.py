"""Published methods by name, as recipes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from tools.expression import EXPERT_METRICS, NAMED_ALLOCATIONS, NAMED_METRICS
from tools.io.errors import UsageError
from tools.io.frozen import first_problem
from tools.recipe.allocation import Allocation
from tools.recipe.pattern import Experts, Pattern, Structured, Unstructured
from tools.recipe.recipe import Calibration, Compensation, Recipe


def named_allocation(name: str) -> Allocation:
    """uniform, sdsa, owl, dlp or atp with the width its authors use."""
    expression, width = NAMED_ALLOCATIONS[name]
    return Allocation(expression=expression, width=width)


def _of(metric: str, pattern: Pattern | None = None, kind: str = "none", allocation: str = "uniform") -> Recipe:
    return Recipe(
        pattern=pattern or Unstructured(),
        sparsity=0.5,
        metric=metric,
        allocation=named_allocation(allocation),
        compensation=Compensation.model_validate({"kind": kind}),
    )


_MATRIX = Unstructured(group="matrix")

RECIPES: Mapping[str, Recipe] = {
    **{name: _of(metric, _MATRIX if name == "magnitude" else None) for name, metric in NAMED_METRICS.items()},
    "sparsegpt": _of(NAMED_METRICS["obs"], _MATRIX, "obs"),
    **{name: _of(NAMED_METRICS["wanda"], allocation=name) for name in ("sdsa", "owl", "dlp", "atp")},
    "wanda_sp": _of(NAMED_METRICS["wanda"], Structured(kind="width")),
    "flap": _of("sqr(W) * X_var", Structured(kind="width", shapes="free", group="model"), "bias"),
    "taylor": _of("W * G", Structured(kind="width")),
    "shortgpt": _of(NAMED_METRICS["wanda"], Structured(kind="depth")).model_copy(
        update={"allocation": Allocation(expression="redundancy", width=0.1)}
    ),
    **{name: _of(metric, Experts()) for name, metric in EXPERT_METRICS.items()},
}
"""Every method as its authors publish it, at a sparsity that only holds the place. Named metrics (mask only, uniform);
SparseGPT; named allocations over Wanda's metric; Wanda-sp and FLAP (CASIA-IVA-Lab/FLAP lib/prune.py), Taylor importance
(LLM-Pruner) and ShortGPT's block influence, whose metric decides nothing; methods for experts.

Each has the comparison group of its own paper: the whole matrix for magnitude and SparseGPT (within its column
batches), the row for the others."""

METHODS: tuple[str, ...] = tuple(RECIPES)


def reference(name: str, sparsity: float, pattern: Pattern, calibration: Calibration) -> Recipe:
    """What a method means as a reference, in every place that compares with it: as its authors publish it.

    Each has the comparison group of its own paper, whatever group a search may choose from; N:M, structures and experts
    prescribe theirs.
    """
    chosen = pattern.within("row") is not None
    return method(name, sparsity, None if chosen else pattern, calibration)


def method(
    name: str, sparsity: float, pattern: Pattern | None = None, calibration: Calibration | None = None
) -> Recipe:
    """The recipe of a published method.

    Without a pattern it is the method's own. Under a pattern whose structures fall, a metric scores structures. A
    method for structures keeps its own pattern and takes only the multiple and the request of the one given. Methods
    for experts and those for anything else have nothing in common, but where both may fall each falls its side alone.

    Raises:
        UsageError: no method has that name, or it cannot be meant under the pattern.
    """
    if name not in RECIPES:
        raise UsageError(f'method "{name}" is not known; there are {", ".join(METHODS)}')
    recipe = RECIPES[name]
    meant = recipe.pattern if pattern is None else recipe.pattern.adopted(pattern)
    changes: dict[str, Any] = {"pattern": meant, "sparsity": sparsity, "calibration": calibration or Calibration()}
    changes |= {} if pattern is None else pattern.meant_by(name)
    meant = changes["pattern"]
    if meant is None or recipe.compensation.kind not in ("none", *meant.compensations):
        raise UsageError(_unlike(name, recipe, pattern))
    try:
        return Recipe.model_validate(recipe.model_copy(update=changes).model_dump())
    except ValidationError as error:
        raise UsageError(f"{name} under {meant}: {first_problem(error)}") from error


def names_of(recipe: Recipe) -> tuple[str, ...]:
    """The published methods that a recipe is, at its own sparsity and pattern."""
    return tuple(name for name in METHODS if _means(name, recipe))


def _means(name: str, recipe: Recipe) -> bool:
    try:
        return method(name, recipe.sparsity, recipe.pattern, recipe.calibration) == recipe
    except UsageError:
        return False


def _unlike(name: str, recipe: Recipe, asked: Pattern | None) -> str:
    """Why a method cannot be meant under a pattern."""
    own = recipe.pattern
    if own.fells != Unstructured.fells or asked is None:
        return f"{name} removes {own.fells}: leave the pattern out, or give {own.kind}"
    if asked.language is not own.language:
        return f"{name} scores weights: for {asked.kind} use {' or '.join(asked.references)}"
    others = [n for n, of in RECIPES.items() if of.pattern.fells == asked.fells] or list(asked.references)
    return f"{name} removes single weights: for {asked.kind} use {', '.join(others[:-1])} or {others[-1]}"
