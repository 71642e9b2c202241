"""A file of JSON lines that is added to for hours: a line is there whole or not at all.

Each begins with the SHA-256 of its text. What a killed writer left is cut off; a file that is damaged elsewhere is set
aside, as everything that can be computed anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.io.errors import SecateurError, reason
from tools.io.shelf import set_aside


@dataclass(frozen=True)
class Lines:
    """The lines of one file; of None they are nowhere."""

    path: Path | None

    def read(self) -> list[dict[str, Any]]:
        """All of them, oldest first; none where the file is damaged."""
        if self.path is None or not self.path.exists():
            return []
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        except (OSError, UnicodeDecodeError) as error:
            set_aside(self.path, reason(error))
            return []
        found = [_whole(line) for line in lines]
        if found and found[-1] is None:  # its writer was killed
            found.pop()
            self.path.write_text("".join(lines[:-1]), encoding="utf-8")
        whole = [line for line in found if line is not None]
        if len(whole) < len(found):
            set_aside(self.path, "its checksum is wrong")
            return []
        return whole

    def append(self, line: Mapping[str, Any]) -> None:
        """Add one.

        Raises:
            SecateurError: it cannot be written.
        """
        if self.path is None:
            return
        text = json.dumps(line)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{_sum(text)} {text}\n")
        except OSError as error:
            raise SecateurError(
                f"{self.path}: cannot be written ({reason(error)}). Make room or give access."
            ) from error


def _whole(line: str) -> dict[str, Any] | None:
    digest, _, text = line.rstrip("\n").partition(" ")
    if not line.endswith("\n") or digest != _sum(text):
        return None
    found: dict[str, Any] = json.loads(text)
    return found


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
