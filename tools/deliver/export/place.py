"""Where an export is written: never over something that is there, never half."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.io.disk import require_room
from tools.io.errors import SecateurError, reason
from tools.io.files import aside


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
    require_room(output, needed)


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
