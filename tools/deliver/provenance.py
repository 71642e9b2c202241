"""What a saved model says of its own making, as far as it bears on what is measured of it."""

from __future__ import annotations

from pathlib import Path

from tools.deliver.save import RECIPE
from tools.io.errors import SecateurError
from tools.recipe import Recipe
from tools.text.sources import SOURCES, read


def calibrated(folder: Path, source: str, start: int) -> tuple[str, ...]:
    """What must be said with a number of the model in `folder` on a local file, read from token `start` on: that it was
    calibrated on the same tokens. Of a calibration text that is not there any more only the name is known."""
    if not (folder / RECIPE).exists():
        return ()
    try:
        calibration = Recipe.load(folder / RECIPE).calibration
        if calibration.source in SOURCES or start >= calibration.windows * calibration.length:
            return ()
        theirs = Path(calibration.source)
        if not theirs.exists():
            alike = theirs.name == Path(source).name
            return ("of a file that has the name of what the model was calibrated on",) if alike else ()
        if read(str(theirs), "calibration") != read(source, "test"):
            return ()
    except SecateurError:  # another program's recipe.yaml, or what was a text is none any more
        return ()
    return ("of what the model was calibrated on",)
