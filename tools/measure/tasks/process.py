"""The other end of the pipe: the process in which lm-eval works, seen from where the model is."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from tools.io.errors import SecateurError, UsageError
from tools.measure.tasks.plan import TaskPlan
from tools.measure.tasks.scores import Score

Requests = Mapping[str, Sequence[Sequence[Any]]]
"""Task -> the arguments of each of its requests."""


class Answers(Protocol):
    """What holds a model, or what it said before."""

    def answer(self, kind: str, requests: Requests) -> dict[str, list[Any]]:
        """An answer to every request: (log-likelihood, greedy) to `loglikelihood`, a log-likelihood to
        `loglikelihood_rolling`, a text to `generate_until`."""
        ...

    def chat(self, messages: list[dict[str, str]], opens: bool) -> str:
        """Messages in the model's chat template; `opens`: the answer begins after it."""
        ...


class Harness:
    """lm-eval with the tasks of one plan; a context manager.

    Raises:
        SecateurError: a task is not known or its data cannot be had, on entering.
    """

    def __init__(self, plan: TaskPlan) -> None:
        self.plan = plan
        self.names: tuple[str, ...] = ()
        """The lines of the table to be."""
        self.averaged = False
        """Whether their scores have a mean: each is one of samples, and more is better."""

    def __enter__(self) -> Self:
        self._said = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tools.measure.tasks.harness"],
            cwd=Path(__file__).parents[3],  # where `tools` is found from
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        try:
            plan = self.plan
            if plan.data is not None:
                plan = plan.model_copy(update={"data": str(Path(plan.data).expanduser().absolute())})
            self._send(plan.model_dump(mode="json"))
            ready = self._read()
            self.names, self.averaged = tuple(ready["ready"]), bool(ready["averaged"])
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._said.close()

    def requests(self, answers: Answers) -> dict[str, Requests]:
        """What would be asked, by kind; `answers` puts it into the model's chat template where the plan wants that."""
        self._send({"count": True})
        while True:
            match self._read():
                case {"chat": messages, "open": opens}:
                    self._send({"answers": answers.chat(messages, opens)})
                case {"requests": found}:
                    kinds: dict[str, Requests] = found
                    return kinds

    def score(self, answers: Answers) -> dict[str, Score]:
        """Have one model answer all tasks.

        Raises:
            SecateurError: it cannot; or lm-eval failed.
        """
        self._send({"score": True})
        while True:
            match self._read():
                case {"ask": kind, "tasks": requests}:
                    self._send({"answers": answers.answer(kind, requests)})
                case {"chat": messages, "open": opens}:
                    self._send({"answers": answers.chat(messages, opens)})
                case {"scored": found}:
                    return {name: Score.model_validate(of) for name, of in found.items()}

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._death() from error

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._death()
        message = json.loads(line)
        if "refused" in message:
            raise (UsageError if message["usage"] else SecateurError)(message["refused"])
        return message

    def _death(self) -> SecateurError:
        """Why it is no more."""
        code = self._process.wait()
        self._said.seek(0)
        lines = [line for line in self._said.read().decode(errors="replace").splitlines() if line.strip()]
        said = lines[-1] if lines else "it said nothing"
        return SecateurError(f"lm-eval ended with code {code}: {said}")
