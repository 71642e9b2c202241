"""The index of memories: a Chroma collection under `<home>/memory/`.

Chroma is safe for threads but not for processes, so whoever opens it holds a lock for the moment and closes it again
(opening takes some 15 ms). It is never asked to search: its approximate neighbours miss near-duplicates, so everything
is fetched and ranked exactly. Embeddings are computed here; its default would download a model.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from pydantic import ValidationError

from memory.fingerprint import VERSION, Vector, recipe_vector
from memory.recall import Recollection, rank
from memory.remembered import Remembered, of_run
from runs.fold.history import History
from runs.journal import encode
from runs.run import Run, list_runs
from tools.io import shelf as kept
from tools.io.errors import SecateurError, UsageError, reason
from tools.io.files import file_aside
from tools.io.frozen import first_problem
from tools.io.lock import Locked, hold
from tools.io.shelf import Damaged, set_aside
from tools.recipe import Pattern

if TYPE_CHECKING:
    from chromadb.api.models.Collection import Collection

_COLLECTION = f"candidates-v{VERSION}"
_BATCH = 1000
T = TypeVar("T")


class Memory:
    """All that the runs of one home remember. An empty memory has no folder; reading never makes one."""

    def __init__(self, home: Path, *, wait: float = 60.0) -> None:
        """`wait`: seconds to wait for another process that is in the memory."""
        self.home = home
        self.folder = home / "memory"
        self.wait = wait

    def upsert(self, memories: Iterable[Remembered]) -> None:
        """Remember; what is known under the same id is replaced.

        Raises:
            SecateurError: the memory cannot be written, or another process does not let go of it.
        """
        batch = list(memories)
        if batch:
            self._use(lambda collection: _write(collection, batch))

    def all(self) -> list[Remembered]:
        """Every memory, oldest first.

        Raises:
            SecateurError: the memory holds what this version does not write, or cannot be opened.
        """
        if not self._chroma.exists():
            return []
        documents = self._use(_documents)
        try:
            memories = [Remembered.model_validate_json(document) for document in documents]
        except ValidationError as error:
            why = f"it holds what this version cannot read ({first_problem(error)})"
            raise SecateurError(f"memory {self.folder}: {why}. `secateur memory rebuild` makes it anew.") from error
        return sorted(memories, key=lambda memory: (memory.when, memory.id))

    def count(self) -> int:
        """How many memories there are."""
        return self._use(lambda collection: int(collection.count())) if self._chroma.exists() else 0

    def recall(self, model: Vector, pattern: Pattern, sparsity: float, k: int = 8) -> list[Recollection]:
        """The memories most worth trying on the model with that `model_vector`; see `memory.recall.rank`."""
        return rank(self.all(), model, pattern, sparsity, k)

    def search(self, text: str) -> list[Remembered]:
        """The memories that name every word of `text` (model, metric, allocation, pattern, run), best first."""
        words = text.lower().split()
        found = [memory for memory in self.all() if all(word in memory.summary.lower() for word in words)]
        return sorted(found, key=lambda memory: (memory.relative is None, memory.relative or 0.0, memory.id))

    def show(self, name: str) -> Remembered:
        """The memory with that id.

        Raises:
            UsageError: there is none.
        """
        for memory in self.all():
            if memory.id == name:
                return memory
        raise UsageError(f"memory {name} is not known. `secateur memory search` lists those that are.")

    def export(self, path: Path) -> int:
        """Write every memory as one JSON line to `path`; returns how many.

        Raises:
            SecateurError: the file cannot be written.
        """
        memories = self.all()
        with file_aside(path) as partial:
            partial.write_bytes(b"".join(encode(memory) + b"\n" for memory in memories))
        return len(memories)

    def rebuild(self) -> int:
        """Make the index anew from the journals of all runs; returns how many memories it holds.

        The old index serves until the new one is whole. Runs that cannot be read are told of and left out.
        """
        with self._held():
            return self._make()

    def _make(self) -> int:
        memories = [memory for run in list_runs(self.home) for memory in _told_by(run)]
        aside, old = self.folder / "chroma.new", self.folder / "chroma.old"
        shutil.rmtree(aside, ignore_errors=True)
        try:
            with _collection(aside) as collection:
                _write(collection, memories)
        except Damaged as error:  # of what was just made: the disk is full, or Chroma does not work here
            raise SecateurError(f"memory {self.folder} cannot be made anew ({error})") from error
        shutil.rmtree(old, ignore_errors=True)
        if self._chroma.exists():
            self._chroma.rename(old)
        aside.rename(self._chroma)
        shutil.rmtree(old, ignore_errors=True)
        return len(memories)

    def _use(self, what: Callable[[Collection], T]) -> T:
        """What comes of the index; one that is damaged is set aside first and made anew from the journals."""
        with self._held():
            try:
                if self._chroma.exists() and not self._chroma.is_dir():
                    raise Damaged("it is no folder")
                with _collection(self._chroma) as collection:
                    return what(collection)
            except Damaged as error:
                set_aside(self._chroma, str(error))
                self._make()
            try:
                with _collection(self._chroma) as collection:
                    return what(collection)
            except Damaged as error:
                raise SecateurError(f"memory {self.folder} cannot be used ({error})") from error

    @property
    def _chroma(self) -> Path:
        return self.folder / "chroma"

    @contextmanager
    def _held(self) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with hold(self.folder / "lock", wait=self.wait):
                yield
        except Locked as error:
            raise SecateurError(f"memory {self.folder} is in use ({error}). Try again when it is done.") from None
        except OSError as error:
            raise SecateurError(f"memory {self.folder} cannot be used ({error.strerror or error})") from error


@contextmanager
def _collection(folder: Path) -> Iterator[Collection]:
    """Open the collection in `folder` and close it again. The caller holds the lock.

    Raises:
        Damaged: Chroma cannot work with what is there.
    """
    import chromadb
    from chromadb.api.shared_system_client import SharedSystemClient
    from chromadb.config import Settings

    try:
        with chromadb.PersistentClient(path=str(folder), settings=Settings(anonymized_telemetry=False)) as client:
            yield client.get_or_create_collection(
                _COLLECTION, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
            )
    except OSError:
        raise
    except Exception as error:
        # Whatever Chroma stumbles over (sqlite, Rust, its own versions), there is one way out. What could not be opened
        # stays in its cache under that path and would keep a rebuilt index from opening, too.
        SharedSystemClient.clear_system_cache()
        raise error if isinstance(error, Damaged) else Damaged(f"{type(error).__name__}: {reason(error)}") from error


def _documents(collection: Collection) -> list[str]:
    """All memories as they were written.

    Raises:
        Damaged: one of them is not what was written.
    """
    found = collection.get(include=["documents", "metadatas"])
    documents, labels = found["documents"] or [], found["metadatas"] or []
    for document, label in zip(documents, labels, strict=True):
        if document is None or (label or {}).get("sha256") not in (None, _digest(document)):  # older versions had none
            raise Damaged("the checksum of a memory is wrong")
    return documents


def _told_by(run: Run) -> list[Remembered]:
    try:
        return of_run(History.of(run.read()))
    except SecateurError as error:
        kept.logger.warning("run %s is left out of memory: %s", run.id, error)
        return []


def _digest(document: str) -> str:
    return hashlib.sha256(document.encode()).hexdigest()[:16]


def _write(collection: Collection, memories: list[Remembered]) -> None:
    for start in range(0, len(memories), _BATCH):
        batch = memories[start : start + _BATCH]
        documents = [encode(memory).decode() for memory in batch]
        collection.upsert(
            ids=[memory.id for memory in batch],
            embeddings=[_embedding(memory) for memory in batch],
            documents=documents,
            metadatas=[_labels(memory) | {"sha256": _digest(of)} for memory, of in zip(batch, documents, strict=True)],
        )


def _embedding(memory: Remembered) -> Any:
    return np.concatenate([np.array(memory.model_vector), recipe_vector(memory.recipe)]).astype(np.float32)


def _labels(memory: Remembered) -> dict[str, str | float]:
    recipe = memory.recipe
    return {
        "model": memory.model,
        "fingerprint": memory.fingerprint,
        "pattern": str(recipe.pattern),
        "sparsity": recipe.sparsity,
        "recipe": recipe.id,
    }
