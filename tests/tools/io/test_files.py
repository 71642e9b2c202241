"""Files are put in place whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.io.errors import SecateurError
from tools.io.files import file_aside


def write(file: Path, error: Exception | None = None) -> None:
    with file_aside(file) as partial:
        partial.write_text("new")
        assert file.read_text() == "old"
        if error is not None:
            raise error


def test_a_file_takes_its_place_when_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("old")
    write(file)
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("old")
    with pytest.raises(ZeroDivisionError):
        write(file, ZeroDivisionError())
    with pytest.raises(SecateurError, match=r"a\.json: cannot be written \(no space left on device\)\. Make room"):
        write(file, OSError(28, "No space left on device"))
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
