"""Statistics of layers: the terminals of allocation expressions and the rows of `secateur stats`.

Skewness, kurtosis and the spectral exponent are taken per matrix and averaged over a unit's matrices: pooled weights
would measure how the matrices' scales differ. OWL's outlier ratio and DLP's mean are pooled over the unit's scores, as
their authors' code has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from pydantic import Field

from tools.io.frozen import Frozen
from tools.model.architecture import Projection
from tools.model.checkpoint import Model
from tools.model.units import Granularity, Unit, units
from tools.statistics.collect import Statistics

OUTLIER_THRESHOLD = 5.0
"""OWL's M as its README runs it."""


class LayerRow(Frozen):
    """One linear of the model, as `stats --json` prints it."""

    name: str
    role: str
    block: int
    shape: tuple[int, int] = Field(description="(out, in)")
    parameters: int
    skew: float
    kurtosis: float
    outliers: float = Field(description="percent of |W| ||x|| above 5 times their mean (OWL)")
    redundancy: float = Field(description="of its block: 1 - cos(input, output)")
    score_mean: float = Field(description="mean of |W| ||x||")
    input_norm: float = Field(description="mean over input channels of ||x_j||_2 per window")
    input_max: float


class LayerStatistics:
    """Terminals of allocation expressions over one dense model, computed when first asked for."""

    def __init__(self, model: Model, dense: Mapping[str, torch.Tensor], statistics: Statistics) -> None:
        """`dense`: (out, in) weights of every projection before anything is pruned."""
        self.architecture = model.architecture
        self.dense = dense
        self.statistics = statistics
        self.losses: Callable[[Granularity], list[float]] | None = None
        """Measures what the model loses without each unit alone; whoever holds the model supplies it."""
        self._known: dict[tuple[str, str], torch.Tensor] = {}
        self._moments: dict[str, tuple[float, float]] = {}

    def terminals(self, names: frozenset[str], granularity: Granularity) -> dict[str, torch.Tensor]:
        """(L,) float64 values of the named terminals, one per unit of that granularity."""
        members = units(self.architecture, granularity)
        for name in names:
            if (name, granularity) not in self._known:
                if name == "loss":
                    assert self.losses is not None, "a measured loss needs a bench"
                    values = self.losses(granularity)
                else:
                    values = [self._value(name, unit) for unit in members]
                self._known[name, granularity] = torch.tensor(values, dtype=torch.float64)
        return {name: self._known[name, granularity] for name in names}

    def _value(self, name: str, unit: Unit) -> float:
        if name.startswith("outliers("):
            return self._outliers(unit, float(name[9:-1]))
        compute: dict[str, Callable[[Unit], float]] = {
            "skew": lambda u: self._average(u, lambda p: self._moment(p)[0]),
            "kurtosis": lambda u: self._average(u, lambda p: self._moment(p)[1]),
            "score_skew": lambda u: self._average(u, lambda p: moments(self._scores(Unit(p.name, p.block, (p,))))[0]),
            "alpha": lambda u: self._average(u, lambda p: spectral_exponent(self.dense[p.name])),
            "redundancy": lambda u: self.statistics.redundancy[u.block],
            "score_mean": lambda u: float(self._scores(u).mean()),
            "score_median": lambda u: float(self._scores(u).median()),
            "depth": lambda u: u.block / max(1, self.architecture.n_blocks - 1),
            "size": lambda u: float(u.size),
        }
        return compute[name](unit)

    def _average(self, unit: Unit, value: Callable[[Projection], float]) -> float:
        return sum(value(p) for p in unit.projections) / len(unit.projections)

    def _moment(self, projection: Projection) -> tuple[float, float]:
        if projection.name not in self._moments:
            self._moments[projection.name] = moments(self.dense[projection.name].abs())
        return self._moments[projection.name]

    def _scores(self, unit: Unit) -> torch.Tensor:
        """Wanda scores of all matrices of a unit, flat."""
        norms = self.statistics.inputs
        return torch.cat([(self.dense[p.name].float().abs() * norms[p.name].norm).flatten() for p in unit.projections])

    def _outliers(self, unit: Unit, threshold: float) -> float:
        """100 mean(A > M mean(A)) over the unit's pooled Wanda scores A (OWL)."""
        scores = self._scores(unit)
        return 100.0 * int((scores > threshold * scores.mean()).sum()) / scores.numel()

    def rows(self) -> list[LayerRow]:
        """One row per projection, in forward order."""
        found = []
        for p in self.architecture.projections:
            unit = Unit(p.name, p.block, (p,))
            skew, kurtosis = self._moment(p)
            inputs = self.statistics.inputs[p.name]
            found.append(
                LayerRow(
                    name=p.name,
                    role=p.role,
                    block=p.block,
                    shape=(p.out_features, p.in_features),
                    parameters=p.size,
                    skew=skew,
                    kurtosis=kurtosis,
                    outliers=self._outliers(unit, OUTLIER_THRESHOLD),
                    redundancy=self.statistics.redundancy[p.block],
                    score_mean=float(self._scores(unit).mean()),
                    input_norm=float(inputs.norm.mean()),
                    input_max=float(inputs.largest.max()),
                )
            )
        return found

    def over_depth(self) -> dict[str, list[float]]:
        """Per block: skew, kurtosis, outliers and redundancy, for the fingerprint and for a person to see."""
        names = frozenset({"skew", "kurtosis", f"outliers({OUTLIER_THRESHOLD:g})", "redundancy"})
        return {name.partition("(")[0]: v.tolist() for name, v in self.terminals(names, "block").items()}


def spectral_exponent(w: torch.Tensor) -> float:
    """PL_Alpha_Hill of the squared singular values, upper half (haiquanlu/AlphaPruning lib/esd_utils.py, xmin_mid)."""
    values = torch.linalg.svdvals(w.float()).square().sort().values
    values = values[values > 1e-12 * values[-1]]
    if not len(values):  # a matrix of zeros
        return 1.0
    start = len(values) // 2
    tail = values[start:]
    excess = float((tail.log() - values[start].log()).sum())
    return 1 + len(tail) / excess if excess > 0 else 1.0


def moments(values: torch.Tensor) -> tuple[float, float]:
    """Skewness E[(a - mu)^3] / sigma^3 and kurtosis E[(a - mu)^4] / sigma^4 of all values, in float64 sums."""
    a = values.reshape(-1).float()
    d = a - a.mean()
    square = d * d
    variance = square.mean(dtype=torch.float64)
    if float(variance) == 0.0:
        return 0.0, 0.0
    skew = (square * d).mean(dtype=torch.float64) / variance**1.5
    kurtosis = (square * square).mean(dtype=torch.float64) / variance**2
    return float(skew), float(kurtosis)
