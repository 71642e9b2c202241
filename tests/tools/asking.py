"""What tests of tasks share: lm-eval without a process of its own, and log-likelihoods computed plainly."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
import torch

from tools.measure.tasks import Score, TaskPlan
from tools.measure.tasks.harness import Tasks, asked, score
from tools.model.checkpoint import Model

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "tasks"
"""The common tasks as local files; not part of the repository."""

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data/tasks")


class Answers:
    """A channel to nobody: notes what lm-eval asks, and answers by a function of kind and request."""

    def __init__(
        self, answer: Callable[[str, list[Any]], Any] = lambda kind, request: [-float(len(request[1])), False]
    ):
        self._answer = answer
        self.asked: list[dict[str, list[list[Any]]]] = []
        """Of every time: task -> requests."""

    def ask(self, message: dict[str, Any]) -> Any:
        message = json.loads(json.dumps(message))  # as it comes through a pipe
        self.asked.append(message["tasks"])
        return {name: [self._answer(message["ask"], r) for r in of] for name, of in message["tasks"].items()}


class InProcess:
    """A `Harness` without a process of its own, for tests that need no second one."""

    def __init__(self, plan: TaskPlan) -> None:
        self.plan = plan
        self._tasks = Tasks(plan)
        self.averaged = self._tasks.averaged

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def score(self, answers: Any) -> dict[str, Score]:
        return score(self._tasks, _Pipe(answers))  # type: ignore[arg-type]

    def requests(self, answers: Any) -> Any:
        return json.loads(json.dumps(asked(self._tasks, _Pipe(answers))))  # type: ignore[arg-type]


class _Pipe:
    def __init__(self, answers: Any) -> None:
        self._answers = answers

    def ask(self, message: dict[str, Any]) -> Any:
        match json.loads(json.dumps(message)):
            case {"chat": messages, "open": opens}:
                return self._answers.chat(messages, opens)
            case {"ask": kind, "tasks": requests}:
                return json.loads(json.dumps(self._answers.answer(kind, requests)))


@contextmanager
def forwards(model: Model) -> Iterator[list[torch.Tensor]]:
    """The ids of every forward pass within."""
    seen: list[torch.Tensor] = []

    def note(module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen.append(named["input_ids"] if "input_ids" in named else arguments[0])

    handle = model.network.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def write_samples(folder: Path, name: str, samples: Iterable[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(sample) + "\n" for sample in samples), encoding="utf-8")
    return file


def questions(count: int) -> list[dict[str, Any]]:
    """Samples with two choices each, all different."""
    return [
        {"query": f"What is {i} and {i}?", "choices": [f"It is {2 * i}.", f"No more than {i}"], "gold": i % 2}
        for i in range(count)
    ]


def tokens_of(model: Model, text: str) -> list[int]:
    found: list[int] = model.tokenizer.encode(text, add_special_tokens=False)
    return found


def log_likelihood(model: Model, begin: Sequence[int], prompt: str, answer: str) -> float:
    """Of the tokens that an answer adds to a prompt, by one plain forward pass."""
    read = len(begin) + len(tokens_of(model, prompt))
    ids = [*begin, *tokens_of(model, prompt + answer)]
    with torch.inference_mode():
        logits = model.network(torch.tensor([ids])).logits[0].float()
    scores = torch.log_softmax(logits, dim=-1)
    return float(sum(scores[place - 1, ids[place]] for place in range(read, len(ids))))
