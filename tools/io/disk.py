"""Room on a disk, asked for before anything is written to it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tools.io.errors import SecateurError


def require_room(output: Path, needed: int) -> None:
    """Refuse at once what cannot be written; hours of work may lie behind it.

    Args:
        output: the file or folder to be. needed: bytes.

    Raises:
        SecateurError: no permission, or too little room.
    """
    place = next(parent for parent in (output, *output.absolute().parents) if parent.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise SecateurError(f"{output} cannot be written: no permission for {place}")
    free = shutil.disk_usage(place).free
    if free < needed:
        raise SecateurError(f"{output}: {needed / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB are free on that disk")
