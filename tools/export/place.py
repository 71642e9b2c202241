"""Where an export is written: never over something that is there, never half."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.edges import aside, reason
from tools.errors import SecateurError


def check_place(output: Path, needed: int) -> None:
    """Refuse a place that is taken, may not be written, or is too small, before anything is done for it.

    Args:
        output: the file or folder to be.
        needed: bytes.

    Raises:
        SecateurError: as above.
    """
    if output.exists() or output.is_symlink():
        raise SecateurError(f"{output} exists already. Delete it, or give another place with --output.")
    place = next(parent for parent in output.absolute().parents if parent.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise SecateurError(f"{output} cannot be written: no permission for {place}")
    free = shutil.disk_usage(place).free
    if free < needed:
        raise SecateurError(f"{output}: {needed / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB are free on that disk")


@contextmanager
def folder_aside(output: Path) -> Iterator[Path]:
    """An empty folder that becomes `output` when the body ends well, and is removed when it fails."""
    try:
        with aside(output) as partial:
            yield partial
    except SecateurError:
        raise
    except Exception as error:  # besides OSError: safetensors reports a full disk as an error of its own
        raise SecateurError(f"{output} cannot be written: {reason(error)}") from error
