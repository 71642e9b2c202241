"""The reproduction file: the numbers of a run's final table, and all that decides them.

It is written beside the report, and `secateur reproduce` does it again. What it holds was measured once and is data:
formulas are parsed, nothing of it is executed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from tools.io.errors import SecateurError
from tools.io.frozen import Frozen, first_problem
from tools.measure.tasks.plan import TaskPlan
from tools.recipe import Recipe, Request

FORMAT = 1
NAME = "reproduce.yaml"
LARGEST = 500_000
"""Bytes of a file that is read: a row with a rate for every projection of a very large model takes some 20,000."""
_SHA256 = r"^[0-9a-f]{64}$"
_SHOWN = 200
"""Characters of what is wrong with a file."""

Name = Annotated[str, Field(min_length=1, max_length=4096)]
Sha256 = Annotated[str, Field(pattern=_SHA256)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Table = Annotated[dict[Annotated[int, Field(ge=1)], Seconds], Field(min_length=1)]
"""Units of a layer -> seconds."""


class Subject(Frozen):
    """The model, and by what it is known again."""

    name: Name
    fingerprint: Name
    """Of weights and configuration, as `tools.model.checkpoint.fingerprint` has it."""
    configuration: Sha256
    """Of config.json."""
    tokenizer: Sha256
    """Of the tokenizer's files."""
    dtype: Name
    """What was computed in."""


class Machine(Frozen):
    """What it was computed on: another order of summation gives other last digits."""

    device: Name
    hardware: str
    threads: int | None = Field(ge=1, le=4096)


class Text(Frozen):
    """`windows` windows of `length` tokens; a local file by its whole path."""

    source: Name
    windows: int = Field(ge=1, le=10**7)
    length: int = Field(ge=8, le=10**7)
    seed: int = Field(default=0, ge=-(2**63), lt=2**63)
    sha256: Sha256
    """Of the token ids."""


class Times(Frozen):
    """What layers cost on the machine of the run (see the event `Timed`), where recipes count time: measured anew they
    would be others, and so would be what the recipes remove."""

    request: Request
    attention: Table
    mlp: Table
    whole: Seconds


class Asked(Frozen):
    """The tasks that every row answered."""

    plan: TaskPlan
    batch_tokens: int | None = Field(ge=1, le=10**7)
    """Tokens that went through the model together: other batches round otherwise."""
    versions: dict[Name, str]
    """Of every task's definition; for a local file its hash."""


class Measured(Frozen):
    """One line of the final table."""

    name: Name
    role: Literal["dense", "reference", "result"]
    recipe: Recipe | None
    """None for the dense model."""
    perplexity: float = Field(gt=0)
    sparsity: float = Field(ge=0, le=1)
    tokens: int = Field(ge=1)
    """Predicted tokens behind the perplexity."""
    scores: dict[Name, float] = Field(default_factory=dict)
    """Task -> value."""

    @model_validator(mode="after")
    def _only_the_dense_model_has_no_recipe(self) -> Measured:
        if (self.recipe is None) != (self.role == "dense"):
            raise ValueError("every row has a recipe but that of the dense model")
        return self

    @property
    def numbers(self) -> dict[str, float]:
        """What is measured again and compared."""
        return {"perplexity": self.perplexity, "sparsity": self.sparsity, **self.scores}


class Reproduction(Frozen):
    """What a run measured, and how."""

    format: Literal[1] = 1
    run: Name
    program: str
    """Version of Secateur."""
    libraries: dict[str, str]
    machine: Machine
    model: Subject
    calibration: Text
    test: Text
    seed: int
    """Of the search; the recipes are what it found."""
    times: Times | None = None
    tasks: Asked | None = None
    rows: tuple[Measured, ...] = Field(min_length=1, max_length=100)

    @model_validator(mode="after")
    def _is_complete(self) -> Reproduction:
        if any(row.scores.keys() != (self.tasks.versions if self.tasks else {}).keys() for row in self.rows):
            raise ValueError("a row has scores of other tasks than the file names")
        if len({row.name for row in self.rows}) < len(self.rows):
            raise ValueError("two rows have one name")
        known = None if self.times is None else self.times.request
        for row in self.rows:
            timed = None if row.recipe is None else row.recipe.pattern.timed
            if timed not in (None, known):
                raise ValueError(f"{row.name} counts the time of {timed}, and times holds none of it")
        return self

    @property
    def yaml(self) -> str:
        """As a file that `load` reads back the same, to the last digit of every number."""
        head = "# `secateur reproduce FILE` measures all of this again and compares.\n"
        return head + yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


class _Plain(yaml.SafeLoader):
    """YAML without aliases: a few lines of them can stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it holds an alias")
        return super().compose_node(parent, index)


def load(path: Path) -> Reproduction:
    """Read a reproduction file.

    Raises:
        SecateurError: it is not there or is none; one line.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise SecateurError(f"{path}: cannot be read ({(error.strerror or type(error).__name__).lower()})") from error
    if len(data) > LARGEST:
        raise SecateurError(f"{path}: is not a reproduction file: it is larger than {LARGEST:,} bytes")
    try:
        found = yaml.load(data.decode("utf-8"), _Plain)
    except Exception as error:  # YAML's own, deep nesting, and what its constructors trip over in strange scalars
        raise SecateurError(f"{path}: is not a reproduction file: not plain YAML ({_short(error)})") from error
    if not isinstance(found, dict):
        raise SecateurError(f"{path}: is not a reproduction file: it holds no fields")
    if type(told := found.get("format")) is not int or told != FORMAT:
        what = f"its format is {told!r:.40}, this program reads {FORMAT}" if "format" in found else "it names no format"
        raise SecateurError(f"{path}: is not a reproduction file that can be read: {what}")
    try:
        return Reproduction.model_validate(found)
    except ValidationError as error:
        raise SecateurError(f"{path}: is not a reproduction file: {_cut(first_problem(error))}") from error


def _short(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}: " if mark is not None else ""
    return _cut(where + " ".join(str(getattr(error, "problem", None) or error).split()) or type(error).__name__)


def _cut(line: str) -> str:
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"
