"""Tasks answered by a model: what was answered before is read, the rest goes through the model batch by batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.io.frozen import Frozen
from tools.measure.tasks.answers import Folder, Record
from tools.measure.tasks.process import Harness, Requests
from tools.measure.tasks.scores import TaskProtocol, TaskScores
from tools.recipe.measurement import libraries

if TYPE_CHECKING:
    from tools.measure.tasks.speaker import Speaker
    from tools.model.checkpoint import Model
    from tools.text.windows import Reads

Progress = Callable[[str, int, int], None]
"""Task, tokens that are done, tokens in all."""
_TRIED = 512
"""Tokens of the batch whose time makes a price."""


@dataclass(frozen=True)
class Subject:
    """A model that may answer, opened only if it has to."""

    open: Callable[[], Model]
    fingerprint: str
    tokenizer: str
    """SHA-256 of its files."""
    begin: str
    """What its texts begin with."""
    dtype: str
    device: str
    generation: str = ""
    """SHA-256 of its generation_config.json, which tasks that generate obey."""
    treatment: str = ""
    """What was done to the weights in memory: enough to tell any two results apart."""

    def identity(self) -> dict[str, Any]:
        """All that its answers depend on."""
        from tools.measure.tasks.speaker import ROLLING_WINDOW

        return {
            "model": self.fingerprint,
            "tokenizer": self.tokenizer,
            "begin": self.begin,
            "dtype": self.dtype,
            "device": self.device,
            "generation": self.generation,
            "treatment": self.treatment,
            "rolling_window": ROLLING_WINDOW,
            "libraries": task_libraries(),
        }


class Price(Frozen):
    """What answering costs here."""

    minutes: float
    samples: int
    tokens: int
    """That still have to go through the model."""
    tokens_per_second: float


def task_libraries() -> dict[str, str]:
    """Versions of what decides a score."""
    return libraries() | {"lm_eval": version("lm_eval")}


def subject_of(name: str, *, cache: Path, dtype: str | None, device: str) -> Subject:
    """A model by name, without its weights; arguments and errors as of `open_model`."""
    from tools.model.checkpoint import fingerprint, open_model, open_reader, precision

    reader = open_reader(name, cache)
    return _subject(
        reader,
        lambda: open_model(name, cache=cache, dtype=dtype, device=device),
        fingerprint=fingerprint(reader.folder),
        dtype=precision(reader.config, dtype, device),
        device=device,
    )


def resident(model: Model) -> Subject:
    """An opened model as it is."""
    return _subject(model, lambda: model, fingerprint=model.fingerprint, dtype=model.dtype, device=model.device)


def _subject(of: Reads, open: Callable[[], Model], **known: str) -> Subject:
    from tools.model.hub import generation_sha256, tokenizer_sha256
    from tools.text.windows import begin_of

    return Subject(
        open=open,
        tokenizer=tokenizer_sha256(of.folder),
        begin=begin_of(of)[1],
        generation=generation_sha256(of.folder),
        **known,
    )


def evaluate(
    harness: Harness,
    subject: Subject,
    *,
    cache: Path | None,
    progress: Progress = lambda task, done, total: None,
    batch_tokens: int | None = None,
) -> TaskScores:
    """Have a model answer the tasks of an entered harness.

    Args:
        cache: where answers are kept, and read if they are there; None keeps nothing.
        batch_tokens: of an earlier evaluation that is done again; found by trying where it is not given.

    Raises:
        SecateurError: a task or the model does not permit it.
    """
    start = time.perf_counter()
    answering = Answering(subject, cache, progress, batch_tokens)
    tasks = harness.score(answering)
    protocol = TaskProtocol(
        plan=harness.plan,
        begin=subject.begin,
        rolling_window=subject.identity()["rolling_window"],
        batch_tokens=answering.folder.batch_tokens,
        dtype=subject.dtype,
        device=subject.device,
        model=subject.fingerprint,
        libraries=task_libraries(),
    )
    return TaskScores(protocol=protocol, tasks=tasks, seconds=time.perf_counter() - start)


def price(harness: Harness, subject: Subject, *, cache: Path | None) -> Price:
    """What answering would cost; what is answered already costs nothing. The model is opened where it is not all."""
    answering = Answering(subject, cache)
    samples, tokens = 0, 0
    asked = harness.requests(answering)
    for kind, tasks in asked.items():
        for name, requests in tasks.items():
            samples += len(requests)
            if not answering.folder.record(kind, requests).complete:
                answering.speaker.check(name, kind, requests)
                tokens += sum(answering.speaker.tokens(kind, request) for request in requests)
    if not tokens:
        return Price(minutes=0.0, samples=samples, tokens=0, tokens_per_second=0.0)
    answering.speaker.rate(_TRIED)  # warms up
    rate = answering.speaker.rate(_TRIED)
    return Price(minutes=tokens / rate / 60, samples=samples, tokens=tokens, tokens_per_second=rate)


class Answering:
    """The answers of one model: from its folder, or from itself."""

    def __init__(
        self,
        subject: Subject,
        cache: Path | None,
        progress: Progress = lambda task, done, total: None,
        batch_tokens: int | None = None,
    ) -> None:
        self._subject = subject
        self._progress = progress
        self._speaker: Speaker | None = None
        self.folder = Folder(cache, subject.identity())
        if batch_tokens is not None:
            self.folder.begin(batch_tokens)

    @property
    def speaker(self) -> Speaker:
        """The opened model."""
        if self._speaker is None:
            from tools.measure.tasks.speaker import Speaker

            self._speaker = Speaker(self._subject.open())
        return self._speaker

    def answer(self, kind: str, requests: Requests) -> dict[str, list[Any]]:
        """Answers by task, in the order of the requests; the model is opened only if some are missing."""
        records = {name: self.folder.record(kind, of) for name, of in requests.items()}
        if not all(record.complete for record in records.values()):
            records = self._complete(kind, requests)
        return {name: record.answers for name, record in records.items()}

    def chat(self, messages: list[dict[str, str]], opens: bool) -> str:
        """Messages in the model's chat template; `opens` adds the beginning of an answer."""
        return self.speaker.chat(messages, opens)

    def _complete(self, kind: str, requests: Requests) -> dict[str, Record]:
        """Answer what is not answered yet; all tasks are looked at before the first is answered."""
        speaker = self.speaker
        tokens = {}
        for name, of in requests.items():
            speaker.check(name, kind, of)
            tokens[name] = [speaker.tokens(kind, request) for request in of]
        if self.folder.batch_tokens is None:
            self.folder.begin(speaker.batch_tokens(max(map(max, tokens.values()))))
        size = self.folder.batch_tokens
        assert size is not None
        records = {name: self.folder.record(kind, of) for name, of in requests.items()}
        total = sum(map(sum, tokens.values()))
        done = 0
        for name, record in records.items():
            done += sum(n for n, a in zip(tokens[name], record.answers, strict=True) if a is not None)
        for name, record in records.items():
            self._progress(name, done, total)
            for places in speaker.batches(kind, requests[name], size):
                if all(record.answers[place] is not None for place in places):
                    continue
                record.keep(places, speaker.answer(kind, [requests[name][place] for place in places], size))
                done += sum(tokens[name][place] for place in places)
                self._progress(name, done, total)
        return records
