"""What falls together: the kinds of pattern, as data.

A kind says of itself whatever others would have to ask its name for: whether rates can be allocated, what may make up
for what falls, which methods a result has to beat. How it is applied is its way's business (`tools.prune.way`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from tools.expression.operators import EXPERTS, METRIC, Group, Language
from tools.io.errors import UsageError
from tools.io.frozen import Frozen, first_problem
from tools.recipe.request import Request

Kind = TypeVar("Kind", bound="Pattern")

WAYS: Mapping[str, str] = {
    "unstructured": "tools.prune.weights",
    "n:m": "tools.prune.weights",
    "width": "tools.prune.structures",
    "depth": "tools.prune.structures",
    "width+depth": "tools.prune.structures",
    "experts": "tools.prune.experts",
    "experts+width": "tools.prune.experts_and_width",
}
"""The only table of kinds: kind -> the folder whose `way` applies it, and whose `pattern` has its class unless it is
one of those below."""


class Pattern(Frozen):
    """What falls together. As the type of a field it stands for every kind, told apart by `kind`."""

    kind: str

    fells: ClassVar[str]
    """What falls, in the plural: memories of other things are of no use."""
    zeros: ClassVar[bool] = True
    """Whether what falls stays in the files as zeros; otherwise the model becomes smaller."""
    faster: ClassVar[bool] = False
    """Whether the result computes less."""
    allocates: ClassVar[bool] = True
    """Whether some layers may give more than others."""
    by_layer: ClassVar[bool] = False
    """Whether rates are dealt to layers, attention and MLP, which may fall whole."""
    compensations: ClassVar[tuple[str, ...]] = ()
    """How what stays may make up for what falls; finalists get the last one."""
    statistics: ClassVar[frozenset[str]] = frozenset()
    """Optional statistics that every recipe of this kind reads."""
    language: ClassVar[Language] = METRIC
    """What a metric is written in."""

    @property
    def whole_blocks(self) -> bool:
        """Whether whole blocks may fall."""
        return False

    @property
    def even(self) -> bool:
        """Whether all blocks stay alike, so that none can be spared."""
        return False

    def only(self, side: str) -> Pattern:
        """The pattern of which only one side falls; itself where it has no such sides."""
        return self

    @property
    def references(self) -> tuple[str, ...]:
        """The published methods that a result has to beat."""
        return ("magnitude", "wanda")

    @property
    def comparison(self) -> Group:
        """The group within which weights compete, as far as simplifying a metric goes."""
        return "row"

    @property
    def prescribed(self) -> float | None:
        """The sparsity that the pattern means by itself."""
        return None

    @property
    def timed(self) -> Request | None:
        """The request whose time is the budget, where that is not the weights."""
        return None

    @property
    def option(self) -> str:
        """As `--pattern` takes it."""
        return str(self)

    @property
    def title(self) -> str:
        """In a heading, where details do not matter."""
        return str(self)

    @property
    def features(self) -> tuple[str, float, float]:
        """What memory compares patterns by: a word, and two numbers that mean something for N:M only."""
        return self.kind, 0.0, 0.0

    @classmethod
    def parse(cls: type[Kind], text: str) -> Kind | None:
        """The pattern that a person wrote; None where it is another kind.

        Raises:
            UsageError: it is this kind, and cannot be.
        """
        return cls(kind=text) if text in _kinds(cls) else None

    def within(self, group: Group) -> Pattern | None:
        """The same with another comparison group; None where there is none to choose."""
        return None

    def adopted(self, asked: Pattern) -> Pattern | None:
        """The pattern of a method that was published for this one where another is asked for; None where that means
        nothing."""
        return self if asked == Unstructured() else None

    def meant_by(self, method: str) -> dict[str, Any]:
        """Fields of a published method that are others under this pattern than its own."""
        return {}

    def in_multiples(self, multiple: int) -> Pattern:
        """The pattern with the multiple that neurons are kept in.

        Raises:
            UsageError: no neurons fall.
        """
        raise UsageError(f"--multiple is for neurons: it goes with --pattern width or width+depth, not with {self}")

    def counting(self, request: Request) -> Pattern:
        """The pattern whose budget is the time of a request.

        Raises:
            UsageError: it makes nothing faster.
        """
        raise UsageError(f"{self} makes nothing faster: give --speedup with --pattern width, depth or width+depth")

    def __str__(self) -> str:
        return self.kind

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        if Frozen not in cls.__bases__:  # a kind of its own
            return handler(source)
        written = core_schema.plain_serializer_function_ser_schema(
            lambda pattern, info: pattern.model_dump(mode=info.mode), info_arg=True
        )
        # By name: this runs while the class is made, before the kinds and the function are there.
        return core_schema.no_info_plain_validator_function(lambda value: _read(value), serialization=written)


class Unstructured(Pattern):
    """Single weights fall; they compete within a row, a matrix or all matrices of a block."""

    kind: Literal["unstructured"] = "unstructured"
    group: Group = "row"

    fells: ClassVar[str] = "weights"
    compensations: ClassVar[tuple[str, ...]] = ("obs",)

    @property
    def references(self) -> tuple[str, ...]:
        return ("magnitude", "wanda", "sparsegpt")

    @property
    def comparison(self) -> Group:
        return self.group

    @property
    def option(self) -> str:
        """The row, which is what weights compete in by default, is left out."""
        return "unstructured" if self.group == "row" else f"unstructured/{self.group}"

    @property
    def title(self) -> str:
        return "unstructured"

    @property
    def features(self) -> tuple[str, float, float]:
        return self.group, 0.0, 0.0

    @classmethod
    def parse(cls, text: str) -> Unstructured | None:
        """`unstructured`, alone or with `/row`, `/matrix` or `/block`."""
        kind, _, group = text.partition("/")
        fits = kind == "unstructured" and group in ("", "row", "matrix", "block")
        return cls.model_validate({"group": group or "row"}) if fits else None

    def within(self, group: Group) -> Pattern | None:
        return Unstructured(group=group)

    def adopted(self, asked: Pattern) -> Pattern | None:
        """The pattern that is asked for, wherever a metric of weights says what falls."""
        return asked if asked.language is METRIC else None

    def __str__(self) -> str:
        return f"unstructured per {self.group}"


class NM(Pattern):
    """Of every `m` consecutive weights of a row, `n` stay."""

    kind: Literal["n:m"] = "n:m"
    n: int = Field(ge=1)
    m: int = Field(ge=2, le=1024)

    fells: ClassVar[str] = "weights"
    allocates: ClassVar[bool] = False
    compensations: ClassVar[tuple[str, ...]] = ("obs",)

    @model_validator(mode="after")
    def _keeps_fewer_than_all(self) -> NM:
        if self.n >= self.m:
            raise ValueError(f"{self.n}:{self.m} keeps {self.n} of every {self.m} weights, which removes none")
        return self

    @property
    def references(self) -> tuple[str, ...]:
        return ("magnitude", "wanda", "sparsegpt")

    @property
    def prescribed(self) -> float:
        """The share that is not kept: 0.5 for 2:4."""
        return 1 - self.n / self.m

    @property
    def features(self) -> tuple[str, float, float]:
        """The share that stays, and the length of a group on a logarithmic scale (32 is 1)."""
        return self.kind, self.n / self.m, math.log2(self.m) / 5

    @classmethod
    def parse(cls, text: str) -> NM | None:
        """`N:M` in digits; UsageError unless 1 <= N < M <= 1024."""
        match = re.fullmatch(r"(\d{1,4}):(\d{1,4})", text)
        if match is None:
            return None
        try:
            return cls(n=int(match[1]), m=int(match[2]))
        except ValidationError:
            raise UsageError(f"pattern {text}: N:M keeps N of every M weights, so 1 <= N < M <= 1024") from None

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"


class Structured(Pattern):
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

    fells: ClassVar[str] = "structures"
    zeros: ClassVar[bool] = False
    faster: ClassVar[bool] = True
    by_layer: ClassVar[bool] = True
    compensations: ClassVar[tuple[str, ...]] = ("bias", "least_squares")

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
        """Whether whole attentions, MLPs or blocks may fall."""
        return self.kind != "width"

    @property
    def whole_blocks(self) -> bool:
        return self.depth

    @property
    def references(self) -> tuple[str, ...]:
        """Wanda-sp and FLAP for width, ShortGPT for depth."""
        return (*(("wanda_sp", "flap") if self.width else ()), *(("shortgpt",) if self.depth else ()))

    @property
    def comparison(self) -> Group:
        return "matrix"

    @property
    def timed(self) -> Request | None:
        return self.request

    @classmethod
    def parse(cls, text: str) -> Structured | None:
        """`width`, `depth` or `width+depth`, alone or with `/uniform` or `/free`."""
        kind, _, shapes = text.partition("/")
        fits = kind in _kinds(cls) and shapes in ("", "uniform", "free")
        return cls.model_validate({"kind": kind, "shapes": shapes or "uniform"}) if fits else None

    def adopted(self, asked: Pattern) -> Pattern | None:
        """With the multiple and the request of other structures, where such are asked for."""
        if isinstance(asked, Structured):
            return self.model_copy(update={"multiple": asked.multiple, "request": asked.request})
        return super().adopted(asked)

    @property
    def even(self) -> bool:
        return self.width and self.shapes == "uniform"

    def only(self, side: str) -> Pattern:
        return self if side == self.kind else self.model_copy(update={"kind": side, "group": "layer"})

    def in_multiples(self, multiple: int) -> Pattern:
        if not self.width:
            return super().in_multiples(multiple)
        try:
            return Structured.model_validate(self.model_dump() | {"multiple": multiple})
        except ValidationError as error:
            raise UsageError(f"--{first_problem(error)}") from error

    def counting(self, request: Request) -> Structured:
        return Structured.model_validate(self.model_dump() | {"request": request})

    def __str__(self) -> str:
        shapes = "" if self.shapes == "uniform" else "/free"
        across = ", compared across the model" if self.group == "model" else ""
        return f"{self.kind}{shapes}{across}" + (f" (time of {self.request})" if self.request else "")


class Experts(Pattern):
    """Experts of a mixture go, as many in every block that has any, and the model becomes smaller.

    Which ones differs from block to block, so that the result is an ordinary model of its family that loads everywhere.
    Shared experts and blocks without experts stay as they are.
    """

    kind: Literal["experts"] = "experts"

    fells: ClassVar[str] = "experts"
    zeros: ClassVar[bool] = False
    allocates: ClassVar[bool] = False
    statistics: ClassVar[frozenset[str]] = frozenset({"routing"})
    language: ClassVar[Language] = EXPERTS

    @property
    def references(self) -> tuple[str, ...]:
        return ("frequency", "reap")

    def adopted(self, asked: Pattern) -> Pattern | None:
        """Itself where experts, or the default pattern, are asked for."""
        return self if asked in (self, Unstructured()) else None


def class_of(kind: str) -> type[Pattern]:
    """The class of a kind.

    Raises:
        KeyError: there is no such kind.
    """
    own: tuple[type[Pattern], ...] = (Unstructured, NM, Structured, Experts)
    found = next((one for one in own if kind in _kinds(one)), None)
    if found is None:
        found = import_module(f"{WAYS[kind]}.pattern").PATTERN
    return found


def _kinds(of: type[Pattern]) -> tuple[str, ...]:
    """The kinds that a class takes."""
    allowed: tuple[str, ...] = of.model_fields["kind"].annotation.__args__  # type: ignore[union-attr]
    return allowed


def _read(value: Any) -> Pattern:
    """A pattern from what a file says."""
    if isinstance(value, Pattern):
        return value
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if not isinstance(kind, str) or kind not in WAYS:
        known = ", ".join(WAYS)
        raise PydanticCustomError("pattern_kind", "its kind is one of {known}", {"known": known})
    return class_of(kind).model_validate(value)
