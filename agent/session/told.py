"""What went wrong, for a person."""

from __future__ import annotations

import errno
import os

from runs.plain import plain
from runs.secrets import scrub
from tools.io.errors import SecateurError

DEBUG_VARIABLE = "SECATEUR_DEBUG"


def told(error: Exception) -> str:
    """What went wrong, as one line without secrets; with $SECATEUR_DEBUG the error itself is raised."""
    if os.environ.get(DEBUG_VARIABLE):
        raise error
    match error:
        case SecateurError():
            return one_line(str(error))
        case OSError():
            return one_line(_about_file(error))
        case MemoryError():
            return "out of memory: use a smaller model, fewer or shorter windows, or --dtype bfloat16"
        case _:
            return one_line(f"unexpected {type(error).__name__}: {error} ({DEBUG_VARIABLE}=1 shows where)")


def one_line(message: str) -> str:
    """A message without line ends, secrets and what a terminal would obey."""
    return scrub(plain(" ".join(message.split())))


def _about_file(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"{where}the disk is full. Make room, or choose another place with --home."
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"{where}no permission to write or read here. Choose another place with --home."
        case _:
            return f"{where}{error.strerror or error}"
