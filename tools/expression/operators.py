"""What the languages consist of: terminals, operators, limits.

METRIC gives one number per weight, ALLOCATION one number per unit (a block, a layer, a projection), EXPERTS one number
per expert of a block. An operator of one name means the same in all.

Two divisions exist, and they are not the same:

- `x / y` divides element by element. 0 / 0 counts as 0, so that a row or a column of zeros has a score (RIA divides by
  their sums); anything else over 0 makes the formula invalid, also where `tanh` or `rank` would hide it.
- `div(x, y)` is Pruner-Zero's: it divides x by one number, the Frobenius norm of y (broadcast against x).

Pruner-Zero's functions keep their exact semantics (pprp/Pruner-Zero lib/gptree.py): `log` is ln(|x| + 0.001), `exp`
is cut off at an argument of 100 (in float32 it overflows from 88.7 on, which makes a candidate invalid), `sqrt` takes
|x|, `mms` and `zsn` run over the whole tensor, `zsn` with the sample deviation.

Shapes: W is (out, in); statistics of input channels are (1, in). A reduction keeps its axis with length one, so
`row_sum(W)` is (out, 1) and broadcasts. It sees its argument as it is: `row_sum(X)` is (1, 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["arithmetic", "function", "scaling", "reduction", "rank"]
Axes = frozenset[Literal["row", "column"]]
Group = Literal["row", "matrix", "block"]
"""What weights compete within; only their order inside it counts."""

ROW: Axes = frozenset({"row"})
COLUMN: Axes = frozenset({"column"})

MAX_EXPONENT = 4.0
LOG_OFFSET = 0.001
EXP_LIMIT = 100.0


@dataclass(frozen=True)
class Operator:
    """A function of `arity` tensors; `meaning` is one line for people and designers."""

    arity: int
    kind: Kind
    apply: Callable[..., Tensor]
    meaning: str
    partial: bool = False
    """Finite arguments may have no finite value."""


@dataclass(frozen=True)
class Statistic:
    """A terminal: what it means, the indices it depends on, the interval its values lie in."""

    meaning: str
    axes: Axes
    bounds: tuple[float, float] = (0.0, math.inf)


@dataclass(frozen=True)
class Parameter:
    """A terminal that is called with a constant, as `outliers(5)`: allowed range and the values a search draws."""

    statistic: Statistic
    bounds: tuple[float, float]
    choices: tuple[float, ...]


@dataclass(frozen=True)
class Limits:
    """How large a formula may be."""

    characters: int = 2000
    nodes: int = 64
    depth: int = 16


@dataclass(frozen=True)
class Language:
    """Everything a formula may say; `aliases` are other spellings of operators."""

    name: str
    terminals: Mapping[str, Statistic]
    parametrised: Mapping[str, Parameter]
    operators: Mapping[str, Operator]
    aliases: Mapping[str, str]
    limits: Limits = Limits()

    def statistic(self, name: str) -> Statistic:
        """The terminal of this name; `outliers(5)` is one `outliers` with its number."""
        head = name.partition("(")[0]
        return self.parametrised[head].statistic if head in self.parametrised else self.terminals[name]


def divide(x: Tensor, y: Tensor) -> Tensor:
    """x / y with 0 / 0 = 0."""
    quotient = x / y
    zero = y == 0
    return quotient.masked_fill(zero & (x == 0), 0.0) if zero.any() else quotient


def _divide_by_norm(x: Tensor, y: Tensor) -> Tensor:
    import torch

    together: torch.Size = torch.broadcast_shapes(x.shape, y.shape)
    return divide(x, torch.linalg.vector_norm(y.expand(together)))


def _scaled(x: Tensor) -> Tensor:
    low, high = x.aminmax()
    return divide(x - low, high - low)


def _standardised(x: Tensor, correction: int) -> Tensor:
    # One element has no sample deviation; with the population's it becomes 0 / 0 = 0.
    return divide(x - x.mean(), x.std(correction=min(correction, x.numel() - 1)))


def _ranked(x: Tensor) -> Tensor:
    """Share of the other values along the last axis that are smaller, 0 to 1; equal values rank equally."""
    import torch

    ordered = x.contiguous()
    smaller = torch.searchsorted(ordered.sort(dim=-1).values, ordered)
    return smaller.to(x.dtype) / max(x.shape[-1] - 1, 1)


def _rank(x: Tensor) -> Tensor:
    return _ranked(x.reshape(-1)).reshape(x.shape)


def _along(axis: Literal["row", "column"], reduce: Callable[[Tensor, int], Tensor]) -> Callable[[Tensor], Tensor]:
    """A reduction over one axis; a constant counts as a (1, 1) matrix."""
    dim = -1 if axis == "row" else -2
    return lambda x: reduce(x if x.ndim == 2 else x.reshape(1, -1), dim)


_REDUCTIONS: dict[str, tuple[Callable[[Tensor, int], Tensor], str]] = {
    "sum": (lambda x, dim: x.sum(dim, keepdim=True), "sum"),
    "mean": (lambda x, dim: x.mean(dim, keepdim=True), "mean"),
    "max": (lambda x, dim: x.amax(dim, keepdim=True), "maximum"),
    "min": (lambda x, dim: x.amin(dim, keepdim=True), "minimum"),
    "std": (lambda x, dim: x.std(dim, correction=0, keepdim=True), "population standard deviation"),
    "norm": (lambda x, dim: x.square().sum(dim, keepdim=True).sqrt(), "Euclidean norm"),
}

_SHARED: dict[str, Operator] = {
    "+": Operator(2, "arithmetic", lambda x, y: x + y, "sum"),
    "-": Operator(2, "arithmetic", lambda x, y: x - y, "difference"),
    "*": Operator(2, "arithmetic", lambda x, y: x * y, "product"),
    "/": Operator(2, "arithmetic", divide, "element-wise quotient, 0 / 0 = 0", partial=True),
    "**": Operator(2, "arithmetic", lambda x, y: x**y, "power; the exponent is a constant from -4 to 4", partial=True),
    "neg": Operator(1, "arithmetic", lambda x: -x, "-x"),
    "min": Operator(2, "function", lambda x, y: x.minimum(y), "the smaller of two, element by element"),
    "max": Operator(2, "function", lambda x, y: x.maximum(y), "the larger of two, element by element"),
    "sqr": Operator(1, "function", lambda x: x * x, "x * x"),
    "sqrt": Operator(1, "function", lambda x: x.abs().sqrt(), "square root of |x|"),
    "abs": Operator(1, "function", lambda x: x.abs(), "|x|"),
    "log": Operator(1, "function", lambda x: (x.abs() + LOG_OFFSET).log(), "ln(|x| + 0.001)"),
    "exp": Operator(1, "function", lambda x: x.clamp(max=EXP_LIMIT).exp(), "e ** x, x cut off at 100", partial=True),
    "tanh": Operator(1, "function", lambda x: x.tanh(), "hyperbolic tangent"),
    "rank": Operator(1, "rank", _rank, "share of all other values that are smaller, 0 to 1"),
}

_SHARED_ALIASES = {"add": "+", "sub": "-", "mul": "*", "pow": "sqr"}


def _metric_operators() -> dict[str, Operator]:
    whole = {
        "skp": Operator(1, "function", lambda x: x, "x itself"),
        "mms": Operator(1, "scaling", _scaled, "min-max scaled to 0..1 over the whole matrix"),
        "zsn": Operator(1, "scaling", lambda x: _standardised(x, 1), "(x - mean) / std over the whole matrix"),
        "div": Operator(2, "scaling", _divide_by_norm, "x divided by the Frobenius norm of y", partial=True),
        "row_rank": Operator(1, "rank", _along("row", lambda x, _: _ranked(x)), "rank within the row, 0 to 1"),
        "col_rank": Operator(1, "rank", _along("column", lambda x, _: _ranked(x.mT).mT), "rank in the column, 0 to 1"),
    }
    rows = {
        f"row_{name}": Operator(1, "reduction", _along("row", reduce), f"{meaning} of each row, (out, 1)")
        for name, (reduce, meaning) in _REDUCTIONS.items()
    }
    columns = {
        f"col_{name}": Operator(1, "reduction", _along("column", reduce), f"{meaning} of each column, (1, in)")
        for name, (reduce, meaning) in _REDUCTIONS.items()
    }
    return _SHARED | whole | rows | columns


METRIC = Language(
    name="metric",
    terminals={
        "W": Statistic("|weight|", ROW | COLUMN),
        "X": Statistic("norm of the input channel: sqrt(sum x^2 / windows)", COLUMN),
        "G": Statistic("gradient of the loss, accumulated: 100 * sqrt(sum g^2)", ROW | COLUMN),
        "D": Statistic("diagonal of the inverse Hessian (SparseGPT's U_jj^2)", COLUMN),
        "R": Statistic("regional gradient: RMS gradient of the block's output norm", ROW | COLUMN),
        "X_mean": Statistic("mean of the input channel, signed", COLUMN, (-math.inf, math.inf)),
        "X_var": Statistic("variance of the input channel", COLUMN),
        "X_max": Statistic("largest |x| of the input channel", COLUMN),
        "X_abs": Statistic("mean |x| of the input channel", COLUMN),
    },
    parametrised={},
    operators=_metric_operators(),
    aliases=_SHARED_ALIASES,
)

_ANY = (-math.inf, math.inf)

ALLOCATION = Language(
    name="allocation",
    terminals={
        "skew": Statistic("skewness of |weight|", COLUMN, _ANY),
        "kurtosis": Statistic("kurtosis of |weight|", COLUMN, _ANY),
        "score_skew": Statistic("skewness of |weight| * norm of its input channel", COLUMN, _ANY),
        "redundancy": Statistic("1 - cosine between input and output of the block", COLUMN, _ANY),
        "loss": Statistic("KL divergence from the dense model when this unit alone is removed, measured", COLUMN),
        "score_mean": Statistic("mean of |weight| * norm of its input channel", COLUMN),
        "score_median": Statistic("median of the same", COLUMN),
        "alpha": Statistic("exponent of the spectrum's tail", COLUMN, _ANY),
        "depth": Statistic("place in the model, 0 first, 1 last", COLUMN, (0.0, 1.0)),
        "size": Statistic("number of prunable weights", COLUMN),
    },
    parametrised={
        "outliers": Parameter(
            Statistic("percentage of scores above M times their mean", COLUMN, (0.0, 100.0)),
            bounds=(0.01, 1000.0),
            choices=(3.0, 5.0, 7.0, 10.0),
        ),
    },
    operators=_SHARED
    | {
        "z": Operator(1, "scaling", lambda x: _standardised(x, 0), "(x - mean) / population std over the units"),
        "minmax": Operator(1, "scaling", _scaled, "min-max scaled to 0..1 over the units"),
        "softmax": Operator(1, "function", lambda x: x.softmax(-1), "softmax over the units"),
    },
    aliases=_SHARED_ALIASES,
)

EXPERTS = Language(
    name="metric",
    terminals={
        "frequency": Statistic("share of the calibration tokens that are routed to the expert", COLUMN, (0.0, 1.0)),
        "reap": Statistic("mean over these tokens of router weight times norm of the expert's output", COLUMN),
    },
    parametrised={},
    operators=ALLOCATION.operators,
    aliases=_SHARED_ALIASES,
)
