"""`secateur stats`: look at the layers of a model, or try a metric or an allocation on them, without changing it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tools.io.errors import UsageError
from tui.cli.options import MACHINE, Json, Model, option, takes
from tui.cli.shell import print_json

if TYPE_CHECKING:
    from agent.session.settings import Settings
    from agent.session.trials import Subject

HALF = 0.5
"""The sparsity of a trial, where no other is said."""


@takes(
    "model", "metric", "layer", "allocation", "width", "sparsity", "calibration", "windows", "length", "seed", "json",
    *MACHINE,
)  # fmt: skip
def stats(
    model: Model,
    settings: Settings,
    metric: Annotated[
        str | None, typer.Option(metavar="M", help="Try a formula or wanda, ria, ... on one layer.")
    ] = None,
    layer: Annotated[
        int | None, typer.Option(metavar="N", help="The block for --metric, -1 the last; the middle one by default.")
    ] = None,
    allocation: Annotated[
        str | None, typer.Option(metavar="A", help="Try a formula or owl, sdsa, ... on all blocks.")
    ] = None,
    width: Annotated[
        float | None, typer.Option(metavar="X", help="How far the rates of --allocation lie apart.")
    ] = None,
    sparsity: Annotated[float | None, option("sparsity", "Of a trial; 0.5 by default.")] = None,
    json: Json = False,
) -> None:
    """Show statistics of every prunable linear; or what a metric or an allocation would cost."""
    start = time.perf_counter()
    _check(metric, layer, allocation, width, sparsity)
    share = HALF if sparsity is None else sparsity
    if allocation is not None:
        lines, found = _allocated(model, allocation, metric, width, share, settings)
    elif metric is not None:
        lines, found = _scored(model, metric, layer, share, settings)
    else:
        lines, found = _rows(model, settings)
    if json:
        print_json({"model": model, **found, "seconds": round(time.perf_counter() - start, 3)})
    else:
        print("\n".join(lines))


def _check(
    metric: str | None, layer: int | None, allocation: str | None, width: float | None, sparsity: float | None
) -> None:
    """Refuse options that would be passed over."""
    if allocation is not None and layer is not None:
        raise UsageError("--layer is for --metric alone: an allocation is of all blocks")
    if allocation is None and metric is None and (layer, sparsity) != (None, None):
        raise UsageError("--layer and --sparsity are for trials: add --metric or --allocation, or leave them out")
    if allocation is None and width is not None:
        raise UsageError("--width is for --allocation: add it, or leave it out")
    if width is not None and not 0 <= width <= HALF:
        raise UsageError(f"--width {width:g}: give how far rates lie apart, from 0 to 0.5, for example 0.08")


def _rows(model: str, settings: Settings) -> tuple[list[str], dict[str, Any]]:
    from agent.session.measures import layers
    from tui.text.layers import table

    text, fingerprint, rows = layers(model, settings)
    head = f"{model}: {len(rows)} prunable linears, statistics over {text.tokens:,} tokens of {text.text}"
    return [head, table(rows)], {
        "fingerprint": fingerprint,
        "parameters": sum(row.parameters for row in rows),
        "calibration": {"text": text.text, "sha256": text.sha256, "tokens": text.tokens},
        "linears": [row.model_dump(mode="json") for row in rows],
    }


def _scored(
    model: str, metric: str, layer: int | None, share: float, settings: Settings
) -> tuple[list[str], dict[str, Any]]:
    from tools.recipe.trial import metric_recipe

    name, recipe = metric_recipe(metric, share)  # refused before the model is opened

    from agent.session.trials import metric_trial
    from tui.text.trials import ERROR, layer_table

    of, trial = metric_trial(model, name, recipe, layer, settings)
    head = f"{model}: {name} prunes block {trial.block} of 0 to {of.blocks - 1} alone at {100 * share:g} %"
    lines = [f"{head}: {ERROR}", _protocol(of), layer_table(trial)]
    return lines, {**_subject(of), "metric": name, "formula": recipe.metric, **trial.model_dump(mode="json")}


def _allocated(
    model: str, allocation: str, metric: str | None, width: float | None, share: float, settings: Settings
) -> tuple[list[str], dict[str, Any]]:
    from tools.recipe.trial import BASELINES, allocation_recipe

    scored = metric or BASELINES[0]
    name, recipe = allocation_recipe(allocation, share, width, scored)

    from agent.session.trials import rates_trial
    from tui.text.trials import ERROR, allocation_table

    of, trial = rates_trial(model, recipe, settings)
    head = f"{model}: {name} ({recipe.allocation}) at {100 * share:g} % with the metric {scored}, each block alone"
    found = {"allocation": name, "formula": recipe.allocation.expression, "width": recipe.allocation.width}
    lines = [f"{head}: {ERROR}", _protocol(of), allocation_table(trial)]
    return lines, {**_subject(of), **found, "metric": scored, **trial.model_dump(mode="json")}


def _protocol(of: Subject) -> str:
    note = f"; {of.note}" if of.note else ""
    return f"inputs of the dense model, {of.tokens:,} tokens of {of.text}; no number of the whole model{note}"


def _subject(of: Subject) -> dict[str, Any]:
    return {
        "fingerprint": of.fingerprint,
        "n_blocks": of.blocks,
        "calibration": {"text": of.text, "sha256": of.sha256, "tokens": of.tokens},
        "note": of.note,
    }
