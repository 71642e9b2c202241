"""GGUF files as they lie there: read within their bounds, and the parts of a split one put together.

llama.cpp's gguf-split cuts a model into NAME-00001-of-0000N.gguf and so on. All metadata is in the first part; every
part says which one it is (`split.no`, from 0), of how many (`split.count`), and how many tensors they hold together
(`split.tensors.count`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tools.io.disk import require_room
from tools.io.errors import SecateurError, reason

NUMBER, COUNT, TENSORS = "split.no", "split.count", "split.tensors.count"

ARCHITECTURE = "general.architecture"


def read(file: Path) -> Any:
    """A `gguf.GGUFReader` of the file.

    Raises:
        SecateurError: it is no GGUF, or damaged.
    """
    from gguf import GGUFReader

    class Bounded(GGUFReader):  # type: ignore[misc]  # the package is untyped
        """Reads nothing past the end, where the reader of the package goes on for as long as a length field says."""

        def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> Any:
            if offset + int(count) * np.dtype(dtype).itemsize > len(self.data):
                raise ValueError("it ends too early")
            return super()._get(offset, dtype, count, override_order)

    try:
        return Bounded(file)
    except Exception as error:  # the reader fails in as many ways as a file can be damaged
        raise SecateurError(f"{file} is not a readable GGUF file: {reason(error)}") from error


def value(reader: Any, key: str, otherwise: Any = None) -> Any:
    """What a file says under a key."""
    field = reader.get_field(key)
    return otherwise if field is None else field.contents()


def names(file: Path) -> list[Path]:
    """The files of the model that `file` belongs to, going by its name alone: itself, or every part in order."""
    found = re.fullmatch(r"(.+)-(\d{5})-of-(\d{5})\.gguf", file.name)
    if found is None or int(found[3]) < 1:
        return [file]
    return [file.with_name(f"{found[1]}-{number + 1:05d}-of-{found[3]}.gguf") for number in range(int(found[3]))]


def stem(file: Path) -> str:
    """The name of the model, without what numbers its part."""
    return re.sub(r"-\d{5}-of-\d{5}$", "", file.stem)


def gather(file: Path) -> list[Path]:
    """The files of the model that `file` belongs to, in order; one where it is not split.

    Raises:
        SecateurError: a part is missing, or they are not the parts of one model.
    """
    parts = names(file)
    said = value(read(file), COUNT, 0)
    if said in (0, 1):
        return [file]
    if said != len(parts):
        raise SecateurError(
            f"{file} says that it is one of {said} parts. Name them NAME-00001-of-{int(said):05d}.gguf and so on, in"
            " the order of split.no."
        )
    if missing := [part for part in parts if not part.is_file()]:
        raise SecateurError(
            f"{file} is one of {len(parts)} parts, and {missing[0].name} is missing. Put all of them into one folder."
        )
    readers = [read(part) for part in parts]
    for number, (part, reader) in enumerate(zip(parts, readers, strict=True)):
        if (own := (value(reader, NUMBER), value(reader, COUNT))) != (number, len(parts)):
            raise SecateurError(
                f"{part} says {NUMBER} {own[0]} and {COUNT} {own[1]}; going by its name these are {number} and"
                f" {len(parts)}"
            )
        if differing := _differing(reader, readers[0]):
            raise SecateurError(f"{part} and {parts[0].name} differ in {differing}, so they are not parts of one model")
    held = [tensor.name for reader in readers for tensor in reader.tensors]
    if len(held) != (total := value(readers[0], TENSORS)):
        raise SecateurError(f"the {len(parts)} parts of {file} hold {len(held)} tensors, {TENSORS} says {total}")
    if len(set(held)) < len(held):
        twice = next(name for name in held if held.count(name) > 1)
        raise SecateurError(f"{twice} is in two parts of {file}, so they are not the parts of one model")
    return parts


def _differing(reader: Any, first: Any) -> str | None:
    """A key that a part says otherwise than the first one; most say only how they are split."""
    keys = [key for key in reader.fields if key != NUMBER and not key.startswith("GGUF.")]
    return next((key for key in keys if value(reader, key) != value(first, key)), None)


def merge(parts: Sequence[Path], file: Path, more: Mapping[str, int]) -> None:
    """Write the parts of a model as one GGUF, one tensor in memory at a time.

    Args:
        more: keys that are added.

    Raises:
        SecateurError: there is no room.
    """
    from gguf import GGUFValueType, GGUFWriter

    require_room(file, sum(part.stat().st_size for part in parts))
    readers = [read(part) for part in parts]
    first = readers[0]
    writer = GGUFWriter(file, value(first, ARCHITECTURE), endianess=first.endianess)
    try:
        for key, field in first.fields.items():
            if key.startswith(("GGUF.", "split.")) or key in (ARCHITECTURE, "general.alignment"):
                continue
            array = field.types[0] == GGUFValueType.ARRAY
            writer.add_key_value(key, field.contents(), field.types[0], sub_type=field.types[-1] if array else None)
        for key, number in more.items():
            writer.add_uint32(key, number)
        tensors = [tensor for reader in readers for tensor in reader.tensors]
        for tensor in tensors:
            data = tensor.data
            writer.add_tensor_info(tensor.name, data.shape, data.dtype, data.nbytes, tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in tensors:
            writer.write_tensor_data(tensor.data, tensor_endianess=first.endianess)
    finally:
        writer.close()
