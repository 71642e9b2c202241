"""Benches for worker processes: they compute nothing, and some metrics are the end of the process."""

from __future__ import annotations

import math
import os
import signal
import time
from pathlib import Path

from runs.workers.results import Results
from tools.io.errors import SecateurError
from tools.io.frozen import Frozen
from tools.recipe import Recipe
from tools.recipe.measurement import Measurement


class Scripted(Frozen):
    """Does what the metric says and answers with the sparsity; what it begins is a line of a log."""

    measurement: Measurement
    log: Path
    results: Path
    opening: str = ""
    """What opening it does, in place of opening it."""
    seconds: float = 0.0

    def build(self) -> Scripted:
        self._do(self.opening)
        return self

    def divergence(self, recipe: Recipe, tokens: int) -> Measurement:
        first = recipe.metric not in self.begun()
        with self.log.open("a") as log:
            log.write(f"{recipe.metric}\n")
        time.sleep(self.seconds)
        measured = self.measurement.model_copy(update={"value": recipe.sparsity, "tokens": tokens})
        if recipe.metric == "write and die":
            Results(self.results).write(recipe, tokens, measured)
        if first or recipe.metric != "die once":
            self._do(recipe.metric)
        return measured.model_copy(update={"value": math.nan}) if recipe.metric == "nan" else measured

    def begun(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def _do(self, what: str) -> None:
        if "die" in what:
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "bad":
            raise SecateurError("metric bad: yields NaN")
        if what == "crash":
            raise ZeroDivisionError("a bug")
