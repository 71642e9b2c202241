"""A recipe: what to do to a model, complete and portable, as data.

A recipe names no weights: one found on a small model can be applied to a large one. Its id is a hash of its
canonical JSON, so two recipes with one id are the same recipe.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from tools.expression.operators import Language
from tools.io.errors import SecateurError, UsageError
from tools.io.frozen import Frozen, first_problem
from tools.recipe.allocation import Allocation
from tools.recipe.pattern import Pattern, Unstructured


class Compensation(Frozen):
    """How what stays makes up for what falls.

    `obs` is SparseGPT's update for single weights. Where structures fall, `bias` adds what they contributed on average
    (FLAP), and `least_squares` fits the matrix that read them anew on its Gram matrix; in the final form also to what
    the layers before it lost (`structure.stream`).
    """

    kind: Literal["none", "obs", "bias", "least_squares"] = "none"
    damping: float = Field(default=0.01, gt=0.0, le=1.0)
    batch: int = Field(default=128, ge=1, le=4096)
    """Columns treated together before the rest of the matrix is updated (SparseGPT's lazy batch)."""

    def __str__(self) -> str:
        return {"obs": "OBS", "least_squares": "least squares"}.get(self.kind, self.kind)


class Calibration(Frozen):
    """Which text the statistics come from."""

    source: str = "builtin"
    windows: int = Field(default=16, ge=1)
    length: int = Field(default=512, ge=8)
    seed: int = 0


def check_sparsity(value: float) -> float:
    """`value` if something would be removed and something would be left.

    Raises:
        UsageError: it is not strictly between 0 and 1.
    """
    if not (math.isfinite(value) and 0.0 < value < 1.0):
        raise UsageError(f"sparsity {value:g}: give the share of weights to remove, between 0 and 1, for example 0.5")
    return value


class Recipe(Frozen):
    """Pattern, sparsity, metric, allocation, compensation, calibration."""

    pattern: Pattern = Unstructured()
    sparsity: float = Field(gt=0.0, lt=1.0)
    metric: str = Field(max_length=2000)
    allocation: Allocation = Allocation()
    compensation: Compensation = Compensation()
    calibration: Calibration = Calibration()

    @field_validator("metric")
    @classmethod
    def _metric_is_written(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("the metric is empty")
        return value.strip()

    @model_validator(mode="after")
    def _pattern_fits(self) -> Recipe:
        pattern, kinds = self.pattern, self.pattern.compensations
        if pattern.prescribed is not None and abs(pattern.prescribed - self.sparsity) > 1e-9:
            raise ValueError(f"{pattern} means sparsity {pattern.prescribed:g}, not {self.sparsity:g}")
        if not pattern.allocates and not self.allocation.uniform:
            raise ValueError(f"{pattern} leaves nothing to allocate: it prescribes the rate of every layer")
        if self.compensation.kind not in ("none", *kinds):
            how = f"compensated by {' or '.join(kinds)}" if kinds else "not compensated"
            raise ValueError(f"{pattern} is {how}, so not by {self.compensation.kind}")
        return self

    @property
    def language(self) -> Language:
        """What the metric is written in."""
        return self.pattern.language

    @property
    def league(self) -> str:
        """Divergences are compared within a league.

        In its search form (statistics of the dense model) OBS looks worse than it is in its final form, where every
        block sees the activations of the pruned blocks before it, so recipes with and without it are ranked apart.
        """
        return "obs" if self.compensation.kind == "obs" else "none"

    def canonical(self) -> str:
        """The JSON that the id is a hash of: sorted keys, no spaces."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits; recipes with equal fields have equal ids."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:12]

    @property
    def yaml(self) -> str:
        """As a file that `load` and `--recipe` take."""
        text: str = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
        return text

    def save(self, path: Path) -> None:
        """Write it as YAML; OSError where that cannot be done."""
        path.write_text(self.yaml, encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read a recipe from YAML or JSON.

        Raises:
            SecateurError: the file is missing or is not a recipe.
        """
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
            return cls.model_validate(data)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise SecateurError(f"{path}: cannot be read as a recipe ({type(error).__name__})") from error
        except ValidationError as error:
            raise SecateurError(f"{path}: not a recipe: {first_problem(error)}") from error

    def __str__(self) -> str:
        return f"{self.metric}, {self.allocation} allocation, compensation {self.compensation}, {self.pattern}"
