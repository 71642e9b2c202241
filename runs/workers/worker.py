"""What lives in a worker: a bench of its own, and the disk that every result goes to before it is answered."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Protocol

from runs.candidate import Candidate
from runs.goal import Size
from runs.workers import Gauge, Measured, Outcome
from runs.workers.in_process import try_out
from runs.workers.results import Results
from tools.io.errors import SecateurError
from tools.io.frozen import Frozen
from tools.prune.structures.seconds import Seconds
from tools.recipe import Calibration


class Builder(Protocol):
    """Small and picklable: travels to a worker and builds the bench there."""

    def build(self) -> Gauge:
        """Build it.

        Raises:
            SecateurError: it cannot be built here.
        """
        ...


class Blueprint(Frozen):
    """What a worker builds its bench from: the same model, texts and statistics as the engine's."""

    model: str
    fingerprint: str
    """Of the engine's model: a host that knows another one by the same name must not measure."""
    texts: dict[str, str]
    """`calibration` and `search` -> SHA-256 of the engine's token ids, for the same reason."""
    dtype: str | None
    device: str
    cache: Path
    """Statistics that the engine collected are read from here; they are collected anew where it is not shared."""
    calibration: Calibration
    search: Size
    needs: frozenset[str]
    seconds: Seconds | None = None
    """What layers take on the engine's machine, where time counts: a recipe comes to the same shapes everywhere."""
    threads: int
    """CPU threads of the worker."""

    def build(self) -> Gauge:
        """Open the model, take its statistics and its dense logits."""
        import torch

        from tools.model.checkpoint import open_model
        from tools.prune.bench import Bench
        from tools.text.windows import windows

        torch.set_num_threads(self.threads)
        model = open_model(self.model, cache=self.cache, dtype=self.dtype, device=self.device)
        if model.fingerprint != self.fingerprint:
            where = f"{self.model} on host {socket.gethostname()}"
            raise SecateurError(f"{where} has fingerprint {model.fingerprint}, not {self.fingerprint}. Copy it anew.")
        of = self.calibration
        calibration = windows(of.source, model, part="calibration", count=of.windows, length=of.length, seed=of.seed)
        search = windows(of.source, model, part="search", count=self.search.windows, length=self.search.length)
        for name, read in (("calibration", calibration), ("search", search)):
            if self.texts.get(name, read.sha256) != read.sha256:
                where = f"{of.source} on host {socket.gethostname()}"
                raise SecateurError(f"{where} has other {name} tokens than the engine's. Copy text and tokenizer anew.")
        bench = Bench(model, calibration, search, self.cache, self.needs, self.seconds)
        _ = bench.logits  # taken now, so that no candidate's seconds hold it
        return bench


class Worker:
    """Builds a bench and measures on it. What it raises is a bug; what it answers is not."""

    def __init__(self, builder: Builder, results: Results) -> None:
        self._builder = builder
        self._results = results
        self._bench: Gauge | None = None

    def open(self) -> str:
        """Build the bench; returns why that cannot be done, or nothing."""
        folder = self._results.folder
        if not folder.is_dir():
            return f"host {socket.gethostname()} does not see {folder}: choose a --home that all hosts share"
        try:
            self._bench = self._builder.build()
        except SecateurError as error:
            return str(error)
        return ""

    def measure(self, candidate: Candidate, tokens: int) -> Outcome | str:
        """Measure one candidate; its number is on the disk before this returns.

        A text in place of an outcome says why the worker cannot go on.
        """
        assert self._bench is not None, "a worker measures after it was opened"
        outcome = try_out(self._bench, candidate, tokens)
        if isinstance(outcome, Measured):
            try:
                self._results.write(candidate.recipe, tokens, outcome.measurement)
            except SecateurError as error:
                return str(error)
        return outcome
