"""What came out of tasks, sample by sample, and how sure it is.

Everything rests on the outcomes of single samples: two models that answered the same samples are compared in pairs, and
the bootstrap resamples samples within each task, the same ones for both models.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tools.io.errors import SecateurError
from tools.io.frozen import Frozen
from tools.measure.tasks.plan import TaskPlan

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]

RESAMPLES = 10_000
SEED = 0
CONFIDENCE = 0.95
_AT_ONCE = 4_000_000
"""Numbers that are drawn at a time."""

Outcome = float | tuple[float, float]
"""Of one sample: a score, or a log-likelihood and the words or bytes that it is over."""

_AGGREGATIONS: dict[str, tuple[int, Callable[[Array, Array], Array]]] = {
    "mean": (1, lambda total, count: total[..., 0] / count),
    "perplexity": (1, lambda total, count: math.e ** (-total[..., 0] / count)),
    "weighted_perplexity": (2, lambda total, count: math.e ** (-total[..., 0] / total[..., 1])),
    "bits_per_byte": (2, lambda total, count: -total[..., 0] / total[..., 1] / math.log(2)),
}
"""lm-eval's aggregations that are functions of sums over samples: numbers per outcome, and the function."""


class Stratum(Frozen):
    """The samples of one task of lm-eval: a score is over one of them, or for a group over several."""

    name: str
    outcomes: tuple[Outcome, ...]
    documents: str
    """SHA-256 of the documents, in order: only the same samples are compared in pairs."""


class Score(Frozen):
    """One line of the table."""

    metric: str
    """`acc`, `acc_norm`, `word_perplexity`, ...; with the filter in brackets where there is one."""
    value: float
    """lm-eval's own."""
    higher_is_better: bool
    aggregation: str
    """lm-eval's name for how samples become one number."""
    by_size: bool = True
    """Whether every sample of a group counts alike, not every task."""
    version: str
    """Of the task's definition; for a local file its hash."""
    shots: int
    strata: tuple[Stratum, ...] = Field(min_length=1)

    @property
    def samples(self) -> int:
        """How many were answered."""
        return sum(len(stratum.outcomes) for stratum in self.strata)

    @property
    def is_share(self) -> bool:
        """Whether it is a share of samples, as accuracies are, and every outcome right or wrong."""
        return self.aggregation == "mean" and {o for s in self.strata for o in s.outcomes} <= {0.0, 1.0}

    @cached_property
    def known(self) -> bool:
        """Whether the value is the function of single samples that is resampled here."""
        if self.aggregation not in _AGGREGATIONS:
            return False
        width = _AGGREGATIONS[self.aggregation][0]
        if any((2 if isinstance(o, tuple) else 1) != width for s in self.strata for o in s.outcomes):
            return False
        own = float(_combined(self, [columns(s).sum(0, keepdims=True) for s in self.strata])[0])
        return math.isclose(own, self.value, rel_tol=1e-9) or own == self.value

    @cached_property
    def stderr(self) -> float | None:
        """Standard error: of a mean by the samples' spread, as lm-eval has it; of other figures by the bootstrap."""
        import numpy as np

        if not self.known or min(len(s.outcomes) for s in self.strata) < 2:
            return None
        if self.aggregation != "mean":
            return float(_resampled("", self)[0].std(ddof=1))
        sizes = np.array([len(s.outcomes) for s in self.strata], dtype=float)
        weights = sizes / sizes.sum() if self.by_size else np.full(len(sizes), 1 / len(sizes))
        errors = np.array([columns(s)[:, 0].std(ddof=1) / math.sqrt(len(s.outcomes)) for s in self.strata])
        return float(np.sqrt(((weights * errors) ** 2).sum()))


class TaskProtocol(Frozen):
    """How tasks were answered: enough to do it again."""

    plan: TaskPlan
    begin: str
    """What every prompt begins with, for example `<bos>`."""
    rolling_window: int
    """Tokens of a window where whole texts are scored; BOS is context there, never scored."""
    batch_tokens: int | None
    """Tokens that go through the model together, about; None where nothing had to be answered."""
    dtype: str
    device: str
    model: str
    """Fingerprint of the model's folder; where weights were pruned in memory, of the dense one's."""
    libraries: dict[str, str]

    @property
    def asked(self) -> str:
        """How it was asked, in words."""
        plan = self.plan
        parts = [f"lm-eval {self.libraries['lm_eval']}", "chat template" if plan.chat else "no chat template"]
        parts.append(f"each prompt after {self.begin}" if self.begin else "no BOS")
        parts += ["local files"] if plan.data else []
        parts += [f"first {plan.limit} samples"] if plan.limit else []
        parts += {"all": [], "search": ["search part"], "judge": ["judging part"], "test": ["test part"]}[plan.part]
        return ", ".join([*parts, f"{self.dtype} on {self.device}"])


class TaskScores(Frozen):
    """Everything that one model answered."""

    protocol: TaskProtocol
    tasks: dict[str, Score]
    seconds: float

    @property
    def mean(self) -> float | None:
        """Of all tasks, where all are scores of which more is better."""
        values = [score.value for score in self.tasks.values()]
        return sum(values) / len(values) if _averaged(self) else None


class Flips(Frozen):
    """Samples that one model answers right and the other wrong."""

    lost: int
    """Right by the other model, wrong by this one."""
    won: int

    @property
    def chance(self) -> float:
        """How probable so uneven flips are where both models are equally good (McNemar's exact test, two-sided)."""
        flips, fewer = self.lost + self.won, min(self.lost, self.won)
        as_uneven = sum(math.comb(flips, k) for k in range(fewer + 1))
        return min(1.0, float(2 * as_uneven / 2**flips))


class Difference(Frozen):
    """One line of a comparison: this model's value minus the other's."""

    value: float
    """The other model's."""
    difference: float
    low: float | None
    high: float | None
    """Ends of the paired bootstrap interval; None where the figure is no function of single samples."""
    flips: Flips | None
    """None where samples are not right or wrong."""

    def better(self, higher_is_better: bool) -> bool | None:
        """Whether this model is better for certain; None where no difference can be told: zero is in the interval, or
        there are too few flips for an interval to be trusted."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return None
        if self.flips is not None and self.flips.chance > 1 - CONFIDENCE:
            return None
        return (self.low > 0) == higher_is_better


class Comparison(Frozen):
    """Two models on the same samples."""

    tasks: dict[str, Difference]
    mean: Difference | None


def compare(ours: TaskScores, theirs: TaskScores) -> Comparison:
    """Task by task, in pairs of samples.

    Raises:
        SecateurError: they did not answer the same samples in the same way.
    """
    import numpy as np

    found: dict[str, Difference] = {}
    draws: dict[str, Array] = {}
    for name, score in ours.tasks.items():
        other = theirs.tasks.get(name)
        _check_pair(name, score, other)
        assert other is not None
        found[name], drawn = _difference(name, score, other)
        if drawn is not None:
            draws[name] = drawn
    mean = None
    if ours.mean is not None and theirs.mean is not None and len(draws) == len(found):
        together = np.mean(list(draws.values()), axis=0)
        low, high = _interval(together)
        each = [of.flips for of in found.values() if of.flips is not None]
        flips = Flips(lost=sum(of.lost for of in each), won=sum(of.won for of in each))
        whole = flips if len(each) == len(found) else None
        mean = Difference(value=theirs.mean, difference=ours.mean - theirs.mean, low=low, high=high, flips=whole)
    return Comparison(tasks=found, mean=mean)


def columns(stratum: Stratum) -> Array:
    """(samples, numbers per outcome)."""
    import numpy as np

    return np.array([o if isinstance(o, tuple) else (o,) for o in stratum.outcomes], dtype=np.float64)


def _averaged(scores: TaskScores) -> bool:
    return all(score.aggregation == "mean" and score.higher_is_better for score in scores.tasks.values())


def _check_pair(name: str, ours: Score, theirs: Score | None) -> None:
    if theirs is None:
        raise SecateurError(f"{name} was answered by one of the two models only")
    if (ours.metric, ours.shots) != (theirs.metric, theirs.shots) or (
        [(s.name, s.documents, len(s.outcomes)) for s in ours.strata]
        != [(s.name, s.documents, len(s.outcomes)) for s in theirs.strata]
    ):
        raise SecateurError(f"{name}: the two models did not answer the same samples, so they cannot be compared")


def _difference(name: str, ours: Score, theirs: Score) -> tuple[Difference, Array | None]:
    """The line, and the resampled differences."""
    low, high, drawn = None, None, None
    if ours.known and theirs.known:
        mine, other = _resampled(name, ours, theirs)
        drawn = mine - other
        low, high = _interval(drawn)
    flips = None
    if ours.is_share and theirs.is_share:
        pairs = [
            (a, b)
            for s, t in zip(ours.strata, theirs.strata, strict=True)
            for a, b in zip(s.outcomes, t.outcomes, strict=True)
        ]
        flips = Flips(lost=pairs.count((0.0, 1.0)), won=pairs.count((1.0, 0.0)))
    return Difference(value=theirs.value, difference=ours.value - theirs.value, low=low, high=high, flips=flips), drawn


def _interval(drawn: Array) -> tuple[float, float]:
    import numpy as np

    outside = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [outside, 1 - outside])
    return float(low), float(high)


def _resampled(name: str, *scores: Score) -> list[Array]:
    """The value of every score over RESAMPLES draws of its samples, the same draws for all.

    The draws of a task depend on its name and its number of samples only, not on what else is evaluated.
    """
    import numpy as np

    rng = np.random.default_rng([SEED, *hashlib.sha256(name.encode()).digest()[:8]])
    totals: list[list[Array]] = [[] for _ in scores]
    for place in range(len(scores[0].strata)):
        tables = [columns(score.strata[place]) for score in scores]
        sums = _sums(np.concatenate(tables, axis=1), rng, [table.shape[1] for table in tables])
        for found, total in zip(totals, sums, strict=True):
            found.append(total)
    return [_combined(score, found) for score, found in zip(scores, totals, strict=True)]


def _sums(table: Array, rng: np.random.Generator, widths: list[int]) -> list[Array]:
    """Sums over draws of the rows of a table, as many as it has: (RESAMPLES, width) for each group of columns."""
    import numpy as np

    size = len(table)
    sums = np.empty((RESAMPLES, table.shape[1]))
    step = max(1, _AT_ONCE // size)
    for start in range(0, RESAMPLES, step):
        rows = rng.integers(0, size, (min(step, RESAMPLES - start), size))
        sums[start : start + step] = table[rows].sum(1)
    return np.split(sums, np.cumsum(widths)[:-1], axis=1)


def _combined(score: Score, totals: list[Array]) -> Array:
    """The score from the sums over each stratum, (draws, width) each."""
    import numpy as np

    function = _AGGREGATIONS[score.aggregation][1]
    sizes = [np.array(float(len(s.outcomes))) for s in score.strata]
    if score.by_size:
        return function(np.sum(totals, axis=0), np.sum(sizes, axis=0))
    return np.asarray(np.mean([function(t, n) for t, n in zip(totals, sizes, strict=True)], axis=0))
