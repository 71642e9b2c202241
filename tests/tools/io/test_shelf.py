"""What is kept is whole, or set aside and made anew."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tools.io.errors import SecateurError
from tools.io.shelf import Kept, set_aside
from tools.model.checkpoint import Model
from tools.model.packed import compress_folder, unpacked
from tools.model.sample import TINY
from tools.statistics.collect import collect


def _flipped(file: Path) -> None:
    """A valid file with another number."""
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith("|scaler"))
    tensors[name][0] += 1
    save_file(tensors, file)


def _without(file: Path) -> None:
    tensors = load_file(file)
    tensors.pop(next(name for name in tensors if name.endswith("|counts")))
    save_file(tensors, file)


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "another number": _flipped,
    "a tensor is missing": _without,
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: os.truncate(file, file.stat().st_size // 2),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "one bit": lambda file: file.write_bytes(file.read_bytes()[:-1] + bytes([file.read_bytes()[-1] ^ 1])),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"x"),
    "a folder": _folder,
    "a link to nowhere": lambda file: (file.unlink(), file.symlink_to("nowhere")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_statistics_are_collected_again(
    damage: str, trained: Model, draw: Callable[..., object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    windows = draw(1, 16, 512)
    first = collect(trained, windows, cache=tmp_path)  # type: ignore[arg-type]
    [file] = [path for path in tmp_path.rglob("*") if path.is_file()]
    DAMAGE[damage](file)
    again = collect(trained, windows, cache=tmp_path)  # type: ignore[arg-type]
    assert not again.reused
    for name, known in first.inputs.items():
        assert torch.equal(again.inputs[name].scaler, known.scaler)
    assert [record.getMessage() for record in caplog.records] == [
        record.getMessage()
        for record in caplog.records
        if f"it is set aside as {file.name}.damaged" in record.getMessage()
    ]
    assert len(caplog.records) == 1
    assert sorted(path.name for path in file.parent.iterdir()) == [file.name, f"{file.name}.damaged"]
    assert collect(trained, windows, cache=tmp_path).reused  # type: ignore[arg-type]


def test_a_file_in_the_place_of_a_folder_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    Kept(tmp_path / "cache" / "references", "a.txt").keep(lambda file: file.write_text("whole"))
    assert Kept(tmp_path / "cache" / "references", "a.txt").read(Path.read_text) == "whole"
    assert (tmp_path / "cache.damaged").read_text() == "in the way"


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    def full(file: Path) -> None:
        file.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(SecateurError, match=r"cannot be written \(no space left on device\)"):
        Kept(tmp_path, "a.txt").keep(full)
    assert list(tmp_path.iterdir()) == []


def test_what_was_set_aside_before_gives_way(tmp_path: Path) -> None:
    for content in ("first", "second"):
        (tmp_path / "a").write_text(content)
        set_aside(tmp_path / "a", "why not")
    (tmp_path / "a").mkdir()
    set_aside(tmp_path / "a", "why not")
    assert [path.name for path in tmp_path.iterdir()] == ["a.damaged"]
    assert (tmp_path / "a.damaged").is_dir()


def _changed(folder: Path) -> None:
    """One weight of many is another one; the file's size and header are what they were."""
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-2] ^= 1
    file.write_bytes(data)


FOLDERS: dict[str, Callable[[Path], object]] = {
    "another weight": _changed,
    "another configuration": lambda folder: (folder / "config.json").write_text("{}"),
    "a file less": lambda folder: (folder / "tokenizer.json").unlink(),
    "a file more": lambda folder: (folder / "adapter_config.json").write_text("{}"),
    "never sealed": lambda folder: folder.with_name(f"{folder.name}.sha256").unlink(),
    "another seal": lambda folder: folder.with_name(f"{folder.name}.sha256").write_text("0"),
}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed model; opened, it is restored into the cache, as a GGUF is converted."""
    folder = tmp_path_factory.mktemp("models") / "packed"
    shutil.copytree(TINY, folder)
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor.clamp_min(0) for name, tensor in tensors.items()}, folder / "model.safetensors")
    compress_folder(folder)
    return folder


@pytest.mark.parametrize("damage", FOLDERS)
def test_a_damaged_folder_of_the_cache_is_made_again(
    damage: str, packed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = unpacked(packed, tmp_path)
    before = {file.name: file.read_bytes() for file in place.iterdir()}
    assert unpacked(packed, tmp_path) == place
    assert not caplog.records
    FOLDERS[damage](place)
    assert unpacked(packed, tmp_path) == place
    assert {file.name: file.read_bytes() for file in place.iterdir()} == before
    assert [record.message for record in caplog.records] == [
        f"{place} was damaged ({'it has no checksum' if 'never' in damage else 'its checksum is wrong'}): it is set "
        f"aside as {place.name}.damaged and made anew"
    ]
    assert unpacked(packed, tmp_path) == place
