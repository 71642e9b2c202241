"""Handing candidates to workers that may die: who is idle gets the next one, who dies is replaced.

It does not matter here what a worker is, a process or a Ray actor: each answers with futures.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any, Protocol

from runs.candidate import Candidate
from runs.workers import Failed, Measured, Outcome, Outcomes
from runs.workers.results import Results
from runs.workers.worker import Builder
from tools.io.errors import SecateurError

logger = logging.getLogger(__name__)

TRIES = 3
"""Workers that may die over one candidate, or one after the other while they start."""


class Worker(Protocol):
    """A `Worker` somewhere else; its futures raise one of the backend's `deaths` when it is no more."""

    def open(self) -> Future[str]:
        """Build its bench; the text says why that cannot be done, or is empty."""
        ...

    def measure(self, candidate: Candidate, tokens: int) -> Future[Outcome | str]:
        """Measure one candidate; a text in place of an outcome says why the worker cannot go on."""
        ...

    def stop(self) -> None:
        """End it, whatever it is doing; when this returns it is gone or on its way out."""
        ...


class Backend(Protocol):
    """Where workers come from."""

    @property
    def deaths(self) -> tuple[type[Exception], ...]:
        """What is raised in place of an answer when a worker died."""
        ...

    def start(self, builder: Builder, results: Results) -> Worker:
        """Start a worker and return at once."""
        ...

    def close(self) -> None:
        """Called when all workers are stopped."""
        ...


@dataclass
class _Job:
    """What a worker is doing; without a candidate it builds its bench."""

    worker: Worker
    builder: Builder
    candidate: Candidate | None = None


class Crew:
    """An executor with one worker for each builder, started when there is work for it."""

    def __init__(self, backend: Backend, builders: Sequence[Builder], results: Results) -> None:
        results.folder.mkdir(parents=True, exist_ok=True)
        self._backend = backend
        self._results = results
        self._vacant = list(builders)
        self._idle: list[_Job] = []
        self._busy: dict[Future[Any], _Job] = {}
        self._stillborn = 0
        """Workers that died one after the other before they could measure."""

    def measure(self, candidates: Sequence[Candidate], tokens: int) -> Outcomes:
        """Outcomes as they come in: first those that are on disk, then whichever worker is done first."""
        queue: deque[Candidate] = deque()
        for candidate in candidates:
            if (known := self._results.read(candidate.recipe, tokens)) is not None:
                yield Measured(candidate, known)
            else:
                queue.append(candidate)
        deaths: Counter[str] = Counter()
        try:
            while queue or self._measuring:
                self._hand_out(queue, tokens)
                for future in wait(self._busy, return_when=FIRST_COMPLETED).done:
                    if (outcome := self._collect(future, queue, deaths, tokens)) is not None:
                        yield outcome
        finally:
            for future in [future for future, job in self._busy.items() if job.candidate]:
                self._dismiss(self._busy.pop(future))  # nobody waits for its answer any more

    def close(self) -> None:
        """Stop every worker, then what they came from."""
        while self._busy:
            self._dismiss(self._busy.popitem()[1])
        while self._idle:
            self._dismiss(self._idle.pop())
        self._backend.close()

    @property
    def _measuring(self) -> int:
        return sum(job.candidate is not None for job in self._busy.values())

    def _hand_out(self, queue: deque[Candidate], tokens: int) -> None:
        """Give the idle a candidate each, and start workers while there is more work than workers."""
        while queue and self._idle:
            job = self._idle.pop()
            job.candidate = queue.popleft()
            self._busy[self._ask(job, tokens)] = job
        while self._vacant and len(self._busy) - self._measuring < len(queue):
            builder = self._vacant.pop(0)
            worker = self._backend.start(builder, self._results)
            self._busy[worker.open()] = _Job(worker, builder)

    def _ask(self, job: _Job, tokens: int) -> Future[Outcome | str]:
        assert job.candidate is not None
        try:
            return job.worker.measure(job.candidate, tokens)
        except self._backend.deaths as death:  # it died while it was idle, which only shows now
            future: Future[Outcome | str] = Future()
            future.set_exception(death)
            return future

    def _collect(
        self, future: Future[Any], queue: deque[Candidate], deaths: Counter[str], tokens: int
    ) -> Outcome | None:
        """Take what a worker has to say; an outcome, if it was about a candidate that is done."""
        job = self._busy.pop(future)
        candidate, job.candidate = job.candidate, None
        try:
            answer = future.result()
        except self._backend.deaths as death:
            logger.warning("a worker died %s: %s", f"over {candidate.id}" if candidate else "while it started", death)
            self._dismiss(job)
            return self._after_death(candidate, queue, deaths, tokens)
        except Exception:
            self._dismiss(job)
            raise
        if isinstance(answer, str) and answer:
            self._dismiss(job)
            raise SecateurError(answer)
        self._stillborn = 0
        self._idle.append(job)
        return answer or None

    def _after_death(
        self, candidate: Candidate | None, queue: deque[Candidate], deaths: Counter[str], tokens: int
    ) -> Outcome | None:
        """What becomes of the candidate that a dead worker had: done, given up, or measured next."""
        if candidate is None:
            self._stillborn += 1
            if self._stillborn == TRIES:
                why = "out of memory, or killed"
                raise SecateurError(f"{TRIES} workers in a row died while they opened the model: {why}")
            return None
        if (known := self._results.read(candidate.recipe, tokens)) is not None:
            return Measured(candidate, known)  # it died between writing and answering
        deaths[candidate.id] += 1
        if deaths[candidate.id] == TRIES:
            return Failed(candidate, f"{TRIES} workers died while they measured it: out of memory, or killed")
        queue.appendleft(candidate)
        return None

    def _dismiss(self, job: _Job) -> None:
        self._vacant.insert(0, job.builder)
        job.worker.stop()
