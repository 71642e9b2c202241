"""Saved models packed on disk: a bit per weight and the weights that are not zero, in place of all of them.

`model.safetensors` becomes `model.packed.safetensors`, itself a safetensors file, shard by shard. A tensor that gets
smaller by it is stored as two:

    NAME:mask   uint8 (ceil(n / 8),)   one bit per weight, row-major, the first is the highest bit; 1 where one is kept
    NAME:kept   (kept,)                the kept weights in order, in the tensor's own type

All others are stored as they are. A weight counts as zero only if all its bits are: negative zeros, subnormal numbers
and every NaN are kept, so a file is restored bit for bit. The metadata hold the format's version, the header of the
original file (shapes, types, order) and its SHA-256, which a restored file has to have.

A packed model is smaller on a disk and on a wire only: opened, it is the model it was, with its size and its speed.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, NonNegativeInt, TypeAdapter
from safetensors import SafetensorError, safe_open

from tools.io.disk import require_room
from tools.io.errors import SecateurError, reason
from tools.io.files import aside, sha256
from tools.io.frozen import Frozen
from tools.io.shelf import made
from tools.model.companions import belongs
from tools.model.gguf import converted
from tools.model.hub import missing_shards

PLAIN, PACKED = ".safetensors", ".packed.safetensors"
INDEX = "model{}.index.json"
"""Which tensor is in which shard; `{}` is one of the two endings."""

KEY = "secateur"
"""Of the metadata of a packed file: an `_Original` as JSON."""

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Packed:
    """Bytes of a model's weights on disk: as safetensors before, packed after."""

    before: int
    after: int

    def __str__(self) -> str:
        return f"{self.before / 1e6:,.1f} → {self.after / 1e6:,.1f} MB"


class _Tensor(BaseModel):
    """What a header says of a tensor."""

    dtype: str
    shape: tuple[NonNegativeInt, ...]
    data_offsets: tuple[NonNegativeInt, NonNegativeInt]

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """In bytes."""
        return self.data_offsets[1] - self.data_offsets[0]

    @property
    def width(self) -> int:
        """Bytes per weight; 0 where they are not 1, 2, 4 or 8, and the tensor is stored as it is."""
        return next((width for width in (1, 2, 4, 8) if self.count and width * self.count == self.size), 0)


class _Original(Frozen):
    """The metadata of a packed file: what is restored."""

    version: Literal[1] = 1
    header: str
    sha256: str


_TENSORS = TypeAdapter(dict[str, _Tensor])
_OBJECT = TypeAdapter(dict[str, Any])


def is_packed(folder: Path) -> bool:
    """Whether a folder holds packed weights."""
    return any(folder.glob(f"*{PACKED}"))


def compress_folder(folder: Path) -> Packed:
    """Pack the weights of a saved model in place; the folder is whole at every moment, in one form or the other.

    Every packed file is read back and compared before it takes the place of the original. Needs the memory of a shard.

    Raises:
        SecateurError: the folder is no saved model, is packed already, holds too few zeros, or cannot be written.
    """
    if is_packed(folder):
        raise SecateurError(f"{folder} is packed already. `secateur restore {folder} --output DIR` unpacks it.")
    shards = sorted(folder.glob(f"*{PLAIN}"))
    if not shards or not (folder / "config.json").exists():
        raise SecateurError(f"{folder} is no saved model: it lacks config.json or *{PLAIN}")
    try:
        with aside(folder) as partial:
            files = [_pack(shard, partial / _renamed(shard, PLAIN, PACKED)) for shard in shards]
            found = Packed(_bytes(shards), _bytes(files))
            if found.after >= found.before:
                raise SecateurError(f"{folder} holds too few zeros: packed, its weights would not be smaller")
            _copy_others(folder, partial, PLAIN, PACKED)
    except OSError as error:
        raise SecateurError(f"{folder} cannot be packed: {reason(error)}") from error
    return found


def restore_folder(packed: Path, into: Path) -> Packed:
    """Unpack a model into another folder, which appears whole or not at all; each file has its original's SHA-256.

    Raises:
        SecateurError: `packed` holds no packed model, is damaged or incomplete, or `into` is in use or cannot be
            written.
    """
    if not packed.is_dir() or not is_packed(packed):
        raise SecateurError(f"{packed} holds no packed weights (*{PACKED}): there is nothing to restore")
    if into.is_file() or (into.is_dir() and any(into.iterdir())):
        raise SecateurError(f"{into} exists already. Choose another folder for the restored model.")
    shards = sorted(packed.glob(f"*{PACKED}"))
    require_room(into, sum(tensor.size for shard in shards for tensor in _original(_Weights(shard), shard)[1].values()))
    try:
        with aside(into) as partial:
            files = [_restore(shard, partial / _renamed(shard, PACKED, PLAIN)) for shard in shards]
            found = Packed(_bytes(files), _bytes(shards))
            _copy_others(packed, partial, PACKED, PLAIN)
            if missing := missing_shards(partial):
                raise SecateurError(f"{packed} is incomplete: {missing[0]} is missing. Download it again.")
    except OSError as error:
        raise SecateurError(f"{packed} cannot be restored: {reason(error)}") from error
    return found


def unpacked(folder: Path, cache: Path) -> Path:
    """The folder with plain weights: this one, or what it was restored to in the cache, now if not before.

    Raises:
        SecateurError: the packed weights are damaged, or plain ones lie beside them.
    """
    if not is_packed(folder):
        return folder
    if plain := [file for file in folder.glob(f"*{PLAIN}") if not file.name.endswith(PACKED)]:
        raise SecateurError(f"{folder} holds packed and plain weights ({plain[0].name}). Remove one of the two forms.")
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(f"{file.name} {sha256(file)}\n".encode())
    place = converted(digest.hexdigest(), folder.name, cache)
    return made(place, lambda place: restore_folder(folder, place))


def _renamed(shard: Path, ending: str, other: str) -> str:
    return shard.name.removesuffix(ending) + other


def _bytes(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def _copy_others(folder: Path, into: Path, ending: str, other: str) -> None:
    """Everything but the weights; the index takes the name of its form, so that nobody looks for the other's shards.

    Links are followed to files of the folder and of the hub's cache (`blobs`), which is made of them; what lies
    elsewhere is not the model's.
    """

    def left_out(where: str, names: list[str]) -> list[str]:
        own = Path(where) == folder
        found = [name for name in names if own and name.endswith(ending)]
        for path in (Path(where, name) for name in names):
            if not (path.is_dir() and not path.is_symlink()) and not belongs(path, folder):
                found.append(path.name)
        return found

    shutil.copytree(folder, into, ignore=left_out, dirs_exist_ok=True)
    index = into / INDEX.format(ending)
    if index.exists():
        index.rename(into / INDEX.format(other))


def _pack(shard: Path, target: Path) -> Path:
    """Write the packed form of one file of weights, and prove that it gives back the same bytes."""
    source = _Weights(shard)
    parts: dict[str, tuple[_Tensor, Bytes]] = {}
    for name, tensor in source.tensors.items():
        parts |= _packed(name, tensor, source.data(name))
    original = _Original(header=source.header, sha256=sha256(shard))
    _write(target, parts, {KEY: original.model_dump_json()})
    for _ in _pieces(target):
        pass
    return target


def _packed(name: str, tensor: _Tensor, data: Bytes) -> dict[str, tuple[_Tensor, Bytes]]:
    """What is stored of a tensor: mask and kept weights, or all of it where that is not more."""
    if tensor.width:
        bits = data.view(f"u{tensor.width}")
        keep = bits != 0
        kept = bits[keep].view(np.uint8)
        mask = np.packbits(keep)
        if mask.size + kept.size < tensor.size:
            some = (kept.size // tensor.width,)
            return {
                f"{name}:kept": (_Tensor(dtype=tensor.dtype, shape=some, data_offsets=(0, kept.size)), kept),
                f"{name}:mask": (_Tensor(dtype="U8", shape=mask.shape, data_offsets=(0, mask.size)), mask),
            }
    return {name: (tensor, data)}


def _write(target: Path, parts: Mapping[str, tuple[_Tensor, Bytes]], metadata: dict[str, str]) -> None:
    """A safetensors file; the widest types first, as its readers want aligned tensors."""
    header: dict[str, object] = {"__metadata__": metadata}
    order = sorted(parts.items(), key=lambda part: (-part[1][0].width, part[0]))
    at = 0
    for name, (tensor, data) in order:
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": (at, at + data.size)}
        at += data.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with target.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, (_, data) in order:
            file.write(data.data)


def _restore(shard: Path, target: Path) -> Path:
    with target.open("wb") as file:
        for piece in _pieces(shard):
            file.write(piece)
    return target


def _pieces(shard: Path) -> Iterator[bytes | memoryview]:
    """The bytes of the original file, in order.

    Raises:
        SecateurError: they turn out not to be those that were packed.
    """
    packed = _Weights(shard)
    original, tensors = _original(packed, shard)
    start = original.header.encode()
    start = len(start).to_bytes(8, "little") + start
    digest = hashlib.sha256(start)
    yield start
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        try:
            data = packed.data(name) if name in packed.tensors else _unpacked(tensor, packed, name)
        except (KeyError, ValueError) as error:
            raise SecateurError(f"{shard} is damaged at {name}. Download it again.") from error
        digest.update(data.data)
        yield data.data
    if digest.hexdigest() != original.sha256:
        raise SecateurError(f"{shard} is damaged: restored, it has another SHA-256 than packed. Download it again.")


def _original(packed: _Weights, shard: Path) -> tuple[_Original, dict[str, _Tensor]]:
    """What a packed file says of the one that it was made from, and of its tensors."""
    try:
        original = _Original.model_validate_json(packed.metadata[KEY])
        return original, _tensors(original.header)[0]
    except (KeyError, ValueError) as error:
        raise SecateurError(f"{shard} is damaged, or of a newer version: it does not say what it holds") from error


def _unpacked(tensor: _Tensor, packed: _Weights, name: str) -> Bytes:
    """All bytes of a tensor that was stored as a mask and the kept weights.

    Raises:
        KeyError, ValueError: they are not there, or do not fit together.
    """
    mask, kept = packed.data(f"{name}:mask"), packed.data(f"{name}:kept")
    if not tensor.width or mask.size != -(-tensor.count // 8):  # before memory is taken for what a header only claims
        raise ValueError(name)
    weights = np.zeros(tensor.count, f"u{tensor.width}")
    weights[np.unpackbits(mask, count=tensor.count).view(bool)] = kept.view(weights.dtype)
    return weights.view(np.uint8)


class _Weights:
    """A safetensors file, read as bytes: types that numpy does not have are no obstacle."""

    def __init__(self, file: Path) -> None:
        try:
            with safe_open(file, framework="np"):  # refuses what is cut off, overlaps or has gaps
                pass
            with file.open("rb") as opened:
                length = int.from_bytes(opened.read(8), "little")
                self.header = opened.read(length).decode()
            self.tensors, self.metadata = _tensors(self.header)
        except (SafetensorError, ValueError) as error:
            raise SecateurError(f"{file} is damaged: {reason(error)}. Download it again.") from error
        start = 8 + length
        whole = file.stat().st_size > start
        self._body: Bytes = np.memmap(file, np.uint8, "r", offset=start) if whole else np.empty(0, np.uint8)

    def data(self, name: str) -> Bytes:
        """The bytes of a tensor; KeyError where there is none of that name."""
        first, last = self.tensors[name].data_offsets
        return self._body[first:last]


def _tensors(header: str) -> tuple[dict[str, _Tensor], dict[str, str]]:
    """The tensors and the metadata of a header; ValueError where it is none."""
    entries = _OBJECT.validate_json(header)  # which, unlike json, bounds how deep a hostile file may nest
    metadata = entries.pop("__metadata__", {})
    return _TENSORS.validate_python(entries), metadata
