"""What a saved model says of its own making, as far as it bears on what is measured of it."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError

from tools.io.errors import SecateurError
from tools.model.companions import RECIPE
from tools.text.sources import SOURCES, read


class _Calibration(BaseModel):
    """Which text a saved model's statistics come from, as far as it is asked here."""

    source: str
    windows: int
    length: int


class _Recipe(BaseModel):
    calibration: _Calibration


def calibrated(folder: Path, source: str, start: int) -> tuple[str, ...]:
    """What must be said with a number of the model in `folder` on a local file, read from token `start` on: that it was
    calibrated on the same tokens. Of a calibration text that is not there any more only the name is known."""
    if not (folder / RECIPE).exists():
        return ()
    try:
        said = yaml.safe_load((folder / RECIPE).read_text(encoding="utf-8"))
        calibration = _Recipe.model_validate(said).calibration
        if calibration.source in SOURCES or start >= calibration.windows * calibration.length:
            return ()
        theirs = Path(calibration.source)
        if not theirs.exists():
            alike = theirs.name == Path(source).name
            return ("of a file that has the name of what the model was calibrated on",) if alike else ()
        if read(str(theirs), "calibration") != read(source, "test"):
            return ()
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError, SecateurError):
        return ()  # another program's recipe.yaml, or what was a text is none any more
    return ("of what the model was calibrated on",)
