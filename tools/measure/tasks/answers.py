"""What models answered, on disk: a folder for each model and way of asking, a file for each task, a line for a batch.

A line is there whole or not at all, so an evaluation that was killed goes on after its last batch. Answers are never
shared between lists of requests: a batch of other requests rounds otherwise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from tools.io.frozen import Frozen
from tools.io.lines import Lines
from tools.io.shelf import Kept, key_of


class Folder:
    """Everything that one model answered in one way; a folder of None keeps nothing."""

    def __init__(self, cache: Path | None, identity: Mapping[str, Any]) -> None:
        """`identity`: all that answers depend on beside the requests."""
        self.path = None if cache is None else cache / "answers" / key_of(identity)
        self._how = Kept(self.path or Path(), "how.json")
        self._identity = identity
        self._batch_tokens = 0

    @property
    def batch_tokens(self) -> int | None:
        """Tokens that go through the model together, once that was found out: other batches would round otherwise."""
        if not self._batch_tokens and self.path is not None:
            found = self._how.read_model(How)
            self._batch_tokens = 0 if found is None else found.batch_tokens
        return self._batch_tokens or None

    def begin(self, batch_tokens: int) -> None:
        """Say it, before anything is answered."""
        self._batch_tokens = batch_tokens
        if self.path is not None:
            self._how.keep_model(How(batch_tokens=batch_tokens, identity=dict(self._identity)))

    def record(self, kind: str, requests: Sequence[Any]) -> Record:
        """The answers to one list of requests."""
        if self.path is None or self.batch_tokens is None:
            return Record(None, len(requests))
        key = hashlib.sha256(json.dumps([kind, self.batch_tokens, requests]).encode()).hexdigest()[:24]
        return Record(self.path / f"{key}.jsonl", len(requests))


class How(Frozen):
    """How a folder's answers came about."""

    batch_tokens: int = Field(ge=1)
    identity: dict[str, Any]


class Record:
    """The answers to one list of requests by one model."""

    def __init__(self, path: Path | None, size: int) -> None:
        self.answers: list[Any] = [None] * size
        self._lines = Lines(path)
        for line in self._lines.read():
            self._take(line["places"], line["answers"])

    @property
    def complete(self) -> bool:
        """Whether every request has its answer."""
        return all(answer is not None for answer in self.answers)

    def keep(self, places: Sequence[int], answers: Sequence[Any]) -> None:
        """Write down the answers of one batch; they are on the disk when this returns."""
        self._take(places, answers)
        self._lines.append({"places": list(places), "answers": list(answers)})

    def _take(self, places: Sequence[int], answers: Sequence[Any]) -> None:
        for place, answer in zip(places, answers, strict=True):
            self.answers[place] = answer
