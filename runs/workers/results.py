"""Results of workers on disk: written before they are answered, read before anything is measured.

So a number outlives the worker that measured it and the engine that asked for it, whenever either of them dies.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from tools.io.frozen import Frozen
from tools.io.shelf import Kept
from tools.recipe import Recipe
from tools.recipe.measurement import Measurement


class Result(Frozen):
    """A measurement and the process that made it."""

    measurement: Measurement
    host: str
    pid: int


@dataclass(frozen=True)
class Results:
    """A folder with one JSON file for each recipe and number of tokens."""

    folder: Path

    def place(self, recipe: Recipe, tokens: int) -> Kept:
        """The file of one recipe's measurement on so many tokens."""
        return Kept(self.folder, f"{recipe.id}-{tokens}.json")

    def read(self, recipe: Recipe, tokens: int) -> Measurement | None:
        """What was measured before, if anything."""
        found = self.place(recipe, tokens).read_model(Result)
        return None if found is None else found.measurement

    def write(self, recipe: Recipe, tokens: int, measurement: Measurement) -> None:
        """Keep a result; when this returns, it is on the disk, and nobody ever sees a part of it.

        Raises:
            SecateurError: the folder cannot be written.
        """
        result = Result(measurement=measurement, host=socket.gethostname(), pid=os.getpid())
        self.place(recipe, tokens).keep_model(result)
