"""A recipe: what to do to a model, complete and portable, as data.

A recipe names no weights: one found on a small model can be applied to a large one. Its id is a hash of its
canonical JSON, so two recipes with one id are the same recipe.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tools.expression.operators import EXPERTS, METRIC, Language
from tools.io.errors import SecateurError, UsageError

Group = Literal["row", "matrix", "block"]
Granularity = Literal["block", "layer", "projection"]


class Frozen(BaseModel):
    """A value that is validated once and never changes; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Unstructured(Frozen):
    """Single weights fall; they compete within a row, a matrix or all matrices of a block."""

    kind: Literal["unstructured"] = "unstructured"
    group: Group = "row"

    def __str__(self) -> str:
        return f"unstructured per {self.group}"


class NM(Frozen):
    """Of every `m` consecutive weights of a row, `n` stay."""

    kind: Literal["n:m"] = "n:m"
    n: int = Field(ge=1)
    m: int = Field(ge=2, le=1024)

    @model_validator(mode="after")
    def _keeps_fewer_than_all(self) -> NM:
        if self.n >= self.m:
            raise ValueError(f"{self.n}:{self.m} keeps {self.n} of every {self.m} weights, which removes none")
        return self

    @property
    def sparsity(self) -> float:
        return 1 - self.n / self.m

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"


class Request(Frozen):
    """What a model is asked to do when its speed counts."""

    batch: int = Field(default=1, ge=1)
    prompt: int = Field(default=512, ge=1)
    """Tokens that are read."""
    new: int = Field(default=128, ge=0)
    """Tokens that are written."""

    def __str__(self) -> str:
        return f"batch {self.batch}, {self.prompt} tokens in, {self.new} out"


class Structured(Frozen):
    """Whole structures go, and the model becomes smaller: head groups and neurons (width), blocks (depth), or both.

    With `uniform` shapes every block that stays has the same number of heads and of neurons (which ones differs), so
    that the result loads everywhere. With `free` shapes every layer has its own, and depth may take the attention or
    the MLP of a block alone.
    """

    kind: Literal["width", "depth", "width+depth"]
    shapes: Literal["uniform", "free"] = "uniform"
    multiple: int = Field(default=64, ge=1, le=8192)
    """Neurons of an MLP are kept in multiples of this."""
    group: Literal["layer", "model"] = "layer"
    """Structures are compared within their layer, or standardised and compared across the model (FLAP)."""
    request: Request | None = None
    """With a request, sparsity is the share of its time that falls, on the machine where the recipe is applied; without
    one the share of the blocks' weights."""

    @model_validator(mode="after")
    def _fits(self) -> Structured:
        if self.group == "model" and (self.shapes == "uniform" or self.kind == "depth"):
            raise ValueError("comparing structures across the model gives every layer its own width: use width/free")
        return self

    @property
    def width(self) -> bool:
        return self.kind != "depth"

    @property
    def depth(self) -> bool:
        return self.kind != "width"

    def __str__(self) -> str:
        shapes = "" if self.shapes == "uniform" else "/free"
        across = ", compared across the model" if self.group == "model" else ""
        return f"{self.kind}{shapes}{across}" + (f" (time of {self.request})" if self.request else "")


class Experts(Frozen):
    """Experts of a mixture go, as many in every block that has any, and the model becomes smaller.

    Which ones differs from block to block, so that the result is an ordinary model of its family that loads everywhere.
    Shared experts and blocks without experts stay as they are.
    """

    kind: Literal["experts"] = "experts"

    def __str__(self) -> str:
        return "experts"


Pattern = Annotated[Unstructured | NM | Structured | Experts, Field(discriminator="kind")]


def parse_pattern(text: str) -> Unstructured | NM | Structured | Experts:
    """Read `unstructured`, `unstructured/matrix` (row, matrix, block), `2:4`, `experts`, `width`, `depth`,
    `width+depth` or one of the last three with `/free`."""
    if match := re.fullmatch(r"(\d{1,4}):(\d{1,4})", text.strip()):
        n, m = int(match[1]), int(match[2])
        try:
            return NM(n=n, m=m)
        except ValidationError:
            raise UsageError(f"pattern {text}: N:M keeps N of every M weights, so 1 <= N < M <= 1024") from None
    kind, _, group = text.strip().partition("/")
    if kind == "unstructured" and group in ("", "row", "matrix", "block"):
        return Unstructured(group=group or "row")  # type: ignore[arg-type]  # narrowed by the line above
    if kind in ("width", "depth", "width+depth") and group in ("", "uniform", "free"):
        return Structured(kind=kind, shapes=group or "uniform")  # type: ignore[arg-type]  # as above
    if (kind, group) == ("experts", ""):
        return Experts()
    known = (
        "unstructured, unstructured/matrix, unstructured/block, N:M, width, depth, width+depth, width/free or experts"
    )
    raise UsageError(f'pattern "{text}" is not known: use {known}')


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
        return self.expression == "uniform" or (self.vector is None and self.width == 0.0)

    def __str__(self) -> str:
        if self.uniform:
            return "uniform"
        body = self.expression if self.expression is not None else "evolved rates"
        width = f" ±{self.width:g}" if self.expression is not None else ""
        return f"{body}{width} per {self.granularity}"


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
        if isinstance(self.pattern, NM):
            if abs(self.pattern.sparsity - self.sparsity) > 1e-9:
                raise ValueError(f"{self.pattern} means sparsity {self.pattern.sparsity:g}, not {self.sparsity:g}")
            if not self.allocation.uniform:
                raise ValueError(f"{self.pattern} leaves nothing to allocate: every group keeps the same number")
        if isinstance(self.pattern, Experts):
            if not self.allocation.uniform:
                raise ValueError("experts leave nothing to allocate: every block keeps the same number")
            if self.compensation.kind != "none":
                raise ValueError(f"experts are not compensated, so not by {self.compensation.kind}")
        kinds = ("bias", "least_squares") if isinstance(self.pattern, Structured) else ("obs",)
        if self.compensation.kind not in ("none", *kinds):
            raise ValueError(f"{self.pattern} is compensated by {' or '.join(kinds)}, not by {self.compensation.kind}")
        return self

    @property
    def language(self) -> Language:
        """What the metric is written in."""
        return EXPERTS if isinstance(self.pattern, Experts) else METRIC

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
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:12]

    @property
    def yaml(self) -> str:
        """As a file that `load` and `--recipe` take."""
        text: str = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
        return text

    def save(self, path: Path) -> None:
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


def first_problem(error: ValidationError) -> str:
    """The first complaint of a pydantic error as one line: where, what."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    text = str(problem["msg"]).removeprefix("Value error, ")
    return f"{where}: {text}" if where else text
