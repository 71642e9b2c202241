"""Metrics and allocations tried on the layers of a model, from its dense weights and statistics. Nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping

from agent.session.settings import Settings
from tools.io.frozen import Frozen
from tools.model.architecture import Architecture
from tools.prune.bench import Bench
from tools.prune.metric import needs_of
from tools.prune.reach import LOW
from tools.prune.trial import AllocationTrial, LayerTrial, allocation_trial, layer_trial, present
from tools.recipe import Recipe
from tools.recipe.methods import reference
from tools.recipe.trial import BASELINES
from tools.text.windows import windows


class Subject(Frozen):
    """What a trial was made on."""

    fingerprint: str
    blocks: int
    text: str
    sha256: str
    tokens: int
    note: str = ""
    """What of the model no such trial reaches."""


def metric_trial(
    model: str, name: str, recipe: Recipe, layer: int | None, settings: Settings
) -> tuple[Subject, LayerTrial]:
    """A metric on one block, beside Wanda and magnitude; where no layer is said on the middle one.

    Raises:
        SecateurError: the layer is not there, or the metric cannot be used on it.
    """
    beside = {of: reference(of, recipe.sparsity, recipe.pattern, recipe.calibration) for of in BASELINES}
    recipes = {name: recipe, **{of: other for of, other in beside.items() if of != name}}
    subject, bench = _opened(model, recipes, settings, layer)
    chosen = _middle(bench.model.architecture) if layer is None else layer
    return subject, layer_trial(bench, recipes, chosen)


def rates_trial(model: str, recipe: Recipe, settings: Settings) -> tuple[Subject, AllocationTrial]:
    """An allocation over all blocks, beside one rate for all.

    Raises:
        SecateurError: it cannot be used on this model.
    """
    subject, bench = _opened(model, {"": recipe}, settings)
    return subject, allocation_trial(bench, recipe)


def _middle(architecture: Architecture) -> int:
    """The block in the middle of those that hold something to prune."""
    blocks = sorted({p.block for p in architecture.projections})
    return blocks[len(blocks) // 2]


def _opened(
    model: str, recipes: Mapping[str, Recipe], settings: Settings, layer: int | None = None
) -> tuple[Subject, Bench]:
    """The model with its statistics, Gram matrices among them, which are kept in the cache; a layer that is not there
    is refused before they are taken."""
    values = settings.values
    opened = settings.opened(model)
    architecture = opened.architecture
    if layer is not None:
        present(architecture, layer)
    text = windows(
        values.calibration, opened, part="calibration", count=values.windows, length=values.length, seed=values.seed
    )
    needs = frozenset({"gram"}).union(*(needs_of(recipe) for recipe in recipes.values()))
    bench = Bench(opened, text, None, cache=settings.cache, needs=needs)
    return Subject(
        fingerprint=opened.fingerprint,
        blocks=architecture.n_blocks,
        text=text.text,
        sha256=text.sha256,
        tokens=text.tokens,
        note=unreached(architecture),
    ), bench


def unreached(architecture: Architecture) -> str:
    """What a metric of single weights is not tried on; empty where that is next to nothing."""
    if architecture.reach >= LOW:
        return ""
    return f"what can be pruned, and is tried, holds {100 * architecture.reach:.1f} % of the blocks' weights"
