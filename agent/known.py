"""Final measurements of references, kept beside the other caches.

A reference under one protocol (model, recipe, calibration text, test text, precision, versions) is the same number in
every run; measuring it again would only cost minutes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from tools.edges import file_aside
from tools.errors import SecateurError
from tools.measurement import Measurement, libraries
from tools.recipe import Frozen, Recipe, Structured, first_problem

if TYPE_CHECKING:
    from tools.text import Windows
    from tools.workbench import Workbench


class Known(Frozen):
    """A measurement and the measured share of zeros of every projection."""

    measurement: Measurement
    sparsities: dict[str, float]

    @classmethod
    def read(cls, path: Path) -> Known | None:
        """What is kept there, if anything.

        Raises:
            SecateurError: it is damaged.
        """
        if not path.exists():
            return None
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise SecateurError(
                f"{path}: is damaged ({first_problem(error)}). Delete it, and it is measured again."
            ) from error

    def keep(self, path: Path) -> None:
        """Keep it, written aside and renamed."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with file_aside(path) as partial:
            partial.write_text(self.model_dump_json(), encoding="utf-8")


def known_place(cache: Path, bench: Workbench, windows: Windows, recipe: Recipe | None) -> Path:
    """The file of a reference (None: the dense model) on these windows, under the bench's protocol."""
    model, treatment = bench.model, None
    if recipe is not None:
        treatment = [recipe.canonical(), bench.calibration.sha256]
        if isinstance(recipe.pattern, Structured) and recipe.pattern.request is not None:
            treatment.append(str(bench.ready(recipe).sizes))  # what a time allows differs from machine to machine
    key = [
        treatment,
        windows.sha256,
        list(windows.ids.shape),
        model.fingerprint,
        model.dtype,
        model.device,
        libraries(),
    ]
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]
    return cache / "references" / f"{name}.json"
