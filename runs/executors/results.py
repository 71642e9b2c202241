"""Results of workers on disk: written before they are answered, read before anything is measured.

So a number outlives the worker that measured it and the engine that asked for it, whenever either of them dies.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from tools.edges import file_aside
from tools.errors import SecateurError
from tools.measurement import Measurement
from tools.recipe import Frozen, Recipe, first_problem


class Result(Frozen):
    """A measurement and the process that made it."""

    measurement: Measurement
    host: str
    pid: int


@dataclass(frozen=True)
class Results:
    """A folder with one JSON file for each recipe and number of tokens."""

    folder: Path

    def place(self, recipe: Recipe, tokens: int) -> Path:
        return self.folder / f"{recipe.id}-{tokens}.json"

    def read(self, recipe: Recipe, tokens: int) -> Measurement | None:
        """What was measured before, if anything.

        Raises:
            SecateurError: the file is damaged.
        """
        path = self.place(recipe, tokens)
        try:
            return Result.model_validate_json(path.read_bytes()).measurement
        except FileNotFoundError:
            return None
        except ValidationError as error:
            what = f"{path}: is not a result ({first_problem(error)})"
            raise SecateurError(f"{what}. Delete it, and it is measured again.") from error

    def write(self, recipe: Recipe, tokens: int, measurement: Measurement) -> None:
        """Keep a result; when this returns, it is on the disk, and nobody ever sees a part of it.

        Raises:
            SecateurError: the folder cannot be written.
        """
        path = self.place(recipe, tokens)
        result = Result(measurement=measurement, host=socket.gethostname(), pid=os.getpid())
        with file_aside(path) as partial, partial.open("w", encoding="utf-8") as file:
            file.write(result.model_dump_json())
            file.flush()
            os.fsync(file.fileno())
