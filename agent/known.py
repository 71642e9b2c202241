"""Final measurements of references, kept beside the other caches.

A reference under one protocol (model, recipe, calibration text, test text, precision, versions, hardware, threads) is
the same number in every run; measuring it again would only cost minutes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tools.io.frozen import Frozen
from tools.io.hardware import hardware_of
from tools.io.shelf import Kept, key_of
from tools.recipe import Recipe
from tools.recipe.measurement import Measurement, libraries

if TYPE_CHECKING:
    from tools.prune.bench import Bench
    from tools.text.windows import Windows


class Known(Frozen):
    """A measurement and the measured share of zeros of every projection."""

    measurement: Measurement
    sparsities: dict[str, float]


def known_place(cache: Path, bench: Bench, windows: Windows, recipe: Recipe | None) -> Kept:
    """The place of a reference (None: the dense model) on these windows, under the bench's protocol."""
    model = bench.model
    treatment = None if recipe is None else treatment_of(bench, recipe)
    key = [
        treatment,
        windows.sha256,
        list(windows.ids.shape),
        windows.notes,
        model.fingerprint,
        model.dtype,
        model.device,
        libraries(),
        # Another order of summation gives other last digits, and a mask that differs by them another perplexity.
        hardware_of(model.device),
        torch.get_num_threads(),
    ]
    return Kept(cache / "references", f"{key_of(key)}.json")


def treatment_of(bench: Bench, recipe: Recipe) -> list[str]:
    """What makes a model's weights, beside the model: the recipe, the calibration text, and sizes that differ from
    machine to machine, since a time allows them."""
    found = [recipe.canonical(), bench.calibration.sha256]
    here = "" if recipe.pattern.timed is None else bench.prepare(recipe).of_this_machine
    return [*found, here] if here else found
