"""Measuring in this process, one candidate after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence

from runs.candidate import Candidate
from runs.workers import Failed, Gauge, Measured, Outcome, Outcomes
from tools.io.errors import SecateurError


class InProcess:
    """An executor around one bench; outcomes come in the order of the candidates."""

    def __init__(self, bench: Gauge) -> None:
        self.bench = bench

    def measure(self, candidates: Sequence[Candidate], tokens: int) -> Outcomes:
        """Lazily: each candidate is measured when its outcome is asked for."""
        for candidate in candidates:
            yield try_out(self.bench, candidate, tokens)

    def close(self) -> None:
        """The bench belongs to whoever made it."""


def try_out(bench: Gauge, candidate: Candidate, tokens: int) -> Outcome:
    """Measure one candidate on a bench."""
    try:
        measurement = bench.divergence(candidate.recipe, tokens)
    except SecateurError as error:
        return Failed(candidate, str(error))
    if not math.isfinite(measurement.value):
        return Failed(candidate, f"the pruned model's {measurement.kind} is {measurement.value}, not a number")
    return Measured(candidate, measurement)
