"""Files that are kept only so that nothing is computed twice: whatever happens to one, it is made anew.

The name of such a file ends in the SHA-256 of its bytes, as in `gram.0123456789abcdef.safetensors`: file and checksum
appear in one step, and any change shows. What is damaged is set aside as `NAME.damaged`, and a warning of this module's
logger tells of it, for whoever is in front of a person to pass on.

    Kept   one such file: written whole, read if it is whole
    Shelf  a folder of them, that computes what it does not hold
    made   a whole folder, with its checksum beside it
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from tools.io.errors import SecateurError, reason
from tools.io.files import file_aside, sha256
from tools.io.frozen import first_problem
from tools.io.lock import locked

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class Damaged(Exception):
    """A file does not hold what its reader expects; the message says why, in half a sentence."""


@dataclass(frozen=True)
class Kept:
    """One thing that is kept, by its name without the checksum."""

    folder: Path
    name: str
    """For example `gram.safetensors`."""

    @property
    def files(self) -> list[Path]:
        """Those that are there: none, one, or one of each process that computed it at the same time."""
        stem, suffix = re.escape(Path(self.name).stem), re.escape(Path(self.name).suffix)
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        return sorted(file for file in found if re.fullmatch(rf"{stem}\.[0-9a-f]{{16}}{suffix}", file.name))

    def read(self, reader: Callable[[Path], T]) -> T | None:
        """What `reader` makes of a file that is whole; None where there is none. A damaged one is set aside."""
        for file in self.files:
            try:
                if _digest(file) != file.name.split(".")[-2]:
                    raise Damaged("its checksum is wrong")
                return reader(file)
            except Damaged as error:
                set_aside(file, str(error))
            except OSError as error:
                set_aside(file, reason(error))
        return None

    def keep(self, write: Callable[[Path], object]) -> None:
        """Have `write` write the file at a place aside, then give it its name.

        Raises:
            SecateurError: it cannot be written.
        """
        whole = self.folder / f".{self.name}.{uuid.uuid4().hex}.whole"
        try:
            _make(self.folder)
            with file_aside(whole) as partial:
                write(partial)
            whole.replace(self.folder / f"{Path(self.name).stem}.{_digest(whole)}{Path(self.name).suffix}")
        except OSError as error:
            why = f"cannot be written ({reason(error)}). Make room or give access."
            raise SecateurError(f"{self.folder / self.name}: {why}") from error
        finally:
            whole.unlink(missing_ok=True)

    def read_model(self, model: type[M]) -> M | None:
        """The same of a JSON file that holds a pydantic model."""

        def parse(file: Path) -> M:
            try:
                return model.model_validate_json(file.read_bytes())
            except ValidationError as error:
                raise Damaged(first_problem(error)) from error

        return self.read(parse)

    def keep_model(self, value: BaseModel) -> None:
        """Keep a pydantic model as JSON, on the disk when this returns; infinite numbers become strings, which
        `read_model` reads back."""

        def write(file: Path) -> None:
            with file.open("wb") as opened:
                opened.write(to_json(value.model_dump(), inf_nan_mode="strings"))
                opened.flush()
                os.fsync(opened.fileno())

        self.keep(write)


def key_of(what: object) -> str:
    """20 hexadecimal digits for all that a thing depends on, given as what JSON can write."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:20]


@dataclass
class Shelf:
    """A folder of things that are computed once and read afterwards; one of None keeps nothing."""

    folder: Path | None
    computed: bool = field(default=False, init=False)
    """Whether anything had to be computed since the shelf was opened."""

    @classmethod
    def under(cls, cache: Path | None, *names: str) -> Shelf:
        """The shelf at a path inside the cache; None for the cache keeps nothing."""
        return cls(None if cache is None else cache.joinpath(*names))

    def place(self, name: str) -> Kept | None:
        """Where a thing lies, or would lie."""
        return None if self.folder is None else Kept(self.folder, name)

    def holds_tensors(self, name: str) -> bool:
        """Whether tensors were kept under this name; whether they are whole shows when they are read."""
        place = self.place(f"{name}.safetensors")
        return place is not None and bool(place.files)

    def model(self, name: str, kind: type[M], compute: Callable[[], M]) -> M:
        """A pydantic model: read, or computed and kept."""
        place = self.place(f"{name}.json")
        if place is not None and (known := place.read_model(kind)) is not None:
            return known
        value = self._computed(compute)
        if place is not None:
            place.keep_model(value)
        return value

    def tensors(
        self, name: str, compute: Callable[[], dict[str, torch.Tensor]], device: str = "cpu"
    ) -> dict[str, torch.Tensor]:
        """Tensors by name, on a device: read, or computed and kept."""
        from safetensors.torch import load_file, save_file

        place = self.place(f"{name}.safetensors")
        known: dict[str, torch.Tensor] | None = None
        if place is not None:
            known = place.read(lambda file: load_file(file, device=device))
        if known is not None:
            return known
        values = self._computed(compute)
        if place is not None:
            place.keep(lambda file: save_file({k: v.contiguous().cpu() for k, v in values.items()}, file))
        return values

    def _computed(self, compute: Callable[[], T]) -> T:
        self.computed = True
        return compute()


def made(folder: Path, make: Callable[[Path], object]) -> Path:
    """A folder, whole: `make` makes it unless it is there; of several processes that want it one does, others wait."""
    _make(folder.parent)
    with locked(folder.with_name(f".{folder.name}.lock")):
        if not is_whole(folder):
            make(folder)
            with file_aside(_seal(folder)) as partial:
                partial.write_text(_sum(folder), encoding="utf-8")
    return folder


def is_whole(folder: Path) -> bool:
    """Whether a folder is there and is what it was when it was sealed; one that is not is set aside."""
    if not folder.exists():
        return False
    try:
        if _seal(folder).read_text(encoding="utf-8") == _sum(folder):
            return True
        why = "its checksum is wrong"
    except FileNotFoundError:
        why = "it has no checksum"
    except (OSError, UnicodeDecodeError) as error:
        why = reason(error)
    set_aside(folder, why)
    return False


def _seal(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.sha256")


def _sum(folder: Path) -> str:
    """Of the names and bytes of all files in a folder."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    lines = [f"{sha256(file)} {file.relative_to(folder)}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def set_aside(path: Path, why: str) -> None:
    """Rename what is damaged and can be made anew, in the place of what was set aside before it, and tell of it.

    Raises:
        SecateurError: it cannot be renamed.
    """
    place = path.with_name(f"{path.name}.damaged")
    try:
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
        path.rename(place)
    except FileNotFoundError:
        return  # another process was faster, and tells of it
    except OSError as error:
        raise SecateurError(
            f"{path} is damaged ({why}) and cannot be set aside ({reason(error)}). Remove it."
        ) from error
    logger.warning("%s was damaged (%s): it is set aside as %s and made anew", path, why, place.name)


def _make(folder: Path) -> None:
    """Make a folder and those above it; a file in the place of one of them is damage."""
    there = next(part for part in (folder, *folder.parents) if part.exists())
    if not there.is_dir():
        set_aside(there, "it is no folder")
    folder.mkdir(parents=True, exist_ok=True)


def _digest(file: Path) -> str:
    return sha256(file)[:16]
