"""Measuring in this process, one candidate after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from runs.candidate import Candidate
from runs.executors import Bench, Failed, Measured
from tools.errors import SecateurError


class InProcess:
    """An executor around one bench; outcomes come in the order of the candidates."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def measure(self, candidates: Sequence[Candidate], tokens: int) -> Iterator[Measured | Failed]:
        for candidate in candidates:
            yield self._measure(candidate, tokens)

    def _measure(self, candidate: Candidate, tokens: int) -> Measured | Failed:
        try:
            measurement = self.bench.divergence(candidate.recipe, tokens)
        except SecateurError as error:
            return Failed(candidate, str(error))
        if not math.isfinite(measurement.value):
            return Failed(candidate, f"the pruned model's {measurement.kind} is {measurement.value}, not a number")
        return Measured(candidate, measurement)
