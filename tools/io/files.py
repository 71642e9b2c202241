"""Files and folders: known by their bytes, and put in place whole."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from safetensors import SafetensorError

from tools.io.errors import SecateurError, reason


def sha256(file: Path) -> str:
    """SHA-256 of a file's bytes; as long as it looks the same from outside, it is read once in a process."""
    seen = file.stat()
    return _sha256(file, seen.st_ino, seen.st_size, seen.st_mtime_ns)


@lru_cache(maxsize=1024)
def _sha256(file: Path, *looks: int) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def expanded(name: str | Path) -> Path:
    """The path with `~` replaced; that of an unknown user stays as it is, where `Path.expanduser` raises."""
    return Path(os.path.expanduser(name))  # noqa: PTH111


@contextmanager
def file_aside(path: Path) -> Iterator[Path]:
    """A path beside `path`, in a folder that exists; it takes the place of `path` when the body ends well, and is
    removed when it fails, so that nobody ever sees a part of the file.

    Raises:
        SecateurError: the file cannot be written.
    """
    # Processes on several hosts may share the folder and have one pid: a random name is nobody else's.
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        partial.replace(path)
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk as an error of its own
        raise SecateurError(f"{path}: cannot be written ({reason(error)}). Make room or give access.") from error
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def aside(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder` that takes its place when the body ends well, and is removed when it fails."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    partial.mkdir()
    try:
        yield partial
        _usual_modes(partial)
        _swap(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left beside `folder`."""
    for path in folder.parent.iterdir():
        left = re.fullmatch(re.escape(f".{folder.name}.") + r"(\d+)\.(partial|old)", path.name)
        if left and (int(left[1]) == os.getpid() or not _alive(int(left[1]))):
            shutil.rmtree(path, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # alive, and somebody else's
        return True
    return True


def _usual_modes(folder: Path) -> None:
    """Give every file the mode that a new file gets here: safetensors lets only the owner read what it writes."""
    probe = folder / ".mode"
    probe.touch()
    mode = probe.stat().st_mode & 0o777
    probe.unlink()
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(mode)


def _swap(new: Path, folder: Path) -> None:
    """Put `new` in the place of `folder`; a folder cannot be replaced in one step, so the old one steps aside first."""
    if not folder.exists():
        new.rename(folder)
        return
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
