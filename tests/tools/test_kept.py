"""What is kept is whole, or set aside and made anew."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tools.checkpoint import Model
from tools.errors import SecateurError
from tools.kept import Kept, set_aside
from tools.statistics import collect


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
