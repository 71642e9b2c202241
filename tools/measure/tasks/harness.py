"""lm-eval, in a process of its own: `python -m tools.measure.tasks.harness` asks the questions and counts the points.

It holds one task manager and no model. Whoever holds the model answers over a pipe, so lm-eval's bars, logs and seeds
stay out of that process, and neither its response cache (which does not know the model) nor its request cache (which
does not know the data) is used. Messages are lines of JSON:

    in   a TaskPlan; then {"score": true} for every model or {"count": true}, and {"answers": ...} for what is asked
    out  {"ready": names}, {"ask": kind, "tasks": {name: requests}}, {"chat": ...}, {"scored": ...}, {"requests": ...},
         {"refused": line}
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import math
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from tools.io.errors import SecateurError, UsageError, reason
from tools.measure.tasks.local import definition, local_file
from tools.measure.tasks.plan import COMMONSENSE, TaskPlan, part_of
from tools.measure.tasks.scores import Score, Stratum

SHOTS_SEED = 1234
"""lm-eval's own."""


class Channel:
    """Lines of JSON, one in answer to another."""

    def __init__(self, lines: TextIO, out: TextIO) -> None:
        self._lines, self._out = lines, out

    def send(self, message: dict[str, Any]) -> None:
        """Write one line."""
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()

    def read(self) -> Any:
        """The next message.

        Raises:
            EOFError: the other side is gone.
        """
        line = self._lines.readline()
        if not line:
            raise EOFError
        return json.loads(line)

    def ask(self, message: dict[str, Any]) -> Any:
        """Write one line and wait for the answers to it."""
        self.send(message)
        return self.read()["answers"]


@dataclass(frozen=True)
class Row:
    """A line of the table to be: one task of lm-eval, or a group of them."""

    name: str
    leaves: tuple[str, ...]
    by_size: bool = True


class Tasks:
    """The tasks of a plan, loaded once."""

    def __init__(self, plan: TaskPlan) -> None:
        """
        Raises:
            SecateurError: a task is not known, has no data here, or is none that is answered here.
        """
        from lm_eval.tasks import TaskManager

        self.plan = plan
        self.loaded: dict[str, dict[str, Any]] = {"tasks": {}, "groups": {}, "group_map": {}}
        self.rows: list[Row] = []
        manager = TaskManager(include_defaults=plan.data is None)
        for name in plan.names:
            self._load(manager, name)
        for name, task in self.loaded["tasks"].items():
            self._prepare(name, task)

    def _load(self, manager: Any, name: str) -> None:
        if self.plan.data is not None:
            spec: Any = definition(name, local_file(self.plan.data, name))
        elif name in manager.all_tasks:
            spec = name
        else:
            raise UsageError(f"{name} is no task of lm-eval{_hint(name, manager.all_tasks)}")
        try:
            found = manager.load([spec])
        except Exception as error:  # data sets and their loaders raise many kinds
            why = f"{type(error).__name__}: {reason(error)}"
            other = f"Give --task-data DIR with {name}.jsonl, or allow the hub."
            raise SecateurError(f"the data of task {name} cannot be had ({why}). {other}") from error
        if twice := next((leaf for leaf in found["tasks"] if leaf in self.loaded["tasks"]), None):
            raise UsageError(f"{twice} is asked for twice: {name} holds it")
        for kind in self.loaded:
            self.loaded[kind] |= found.get(kind, {})
        self.rows += _rows(name, found)

    def _prepare(self, name: str, task: Any) -> None:
        if getattr(task, "UNSAFE_CODE", False):
            raise UsageError(f"{name} runs the code that a model writes, which is not done here")
        if getattr(task, "MULTIMODAL", False):
            raise UsageError(f"{name} asks about pictures or sounds, which a text model cannot answer")
        shots, own = self.plan.shots, task.get_config("num_fewshot")
        if shots is not None and own == 0 and shots > 0:
            raise UsageError(f"{name} is defined without examples: leave --shots out, or this task")
        if shots is not None or own is None:
            task.set_config(key="num_fewshot", value=shots or 0)
        if self.plan.data is not None and shots and self.plan.part != "all":
            raise UsageError(
                f"--shots takes examples from {name}'s own file, whose samples are dealt into parts: leave --shots out"
            )
        if self.plan.data is not None and len(task.eval_docs) <= (shots or 0):
            raise UsageError(f"{name} has {len(task.eval_docs)} samples, too few for --shots {shots} of the others")

    def deal_shots(self) -> None:
        """Have the examples before questions drawn from the start, so that every model is given the same."""
        for task in self.loaded["tasks"].values():
            task.set_fewshot_seed(seed=SHOTS_SEED)

    @property
    def averaged(self) -> bool:
        """Whether every score is a mean over samples of which more is better."""
        for task in self.loaded["tasks"].values():
            metrics = [of["metric"] for of in task.config.metric_list or ()]
            function = task.aggregation().get(metrics[0]) if metrics else None
            if getattr(function, "__name__", "") != "mean" or not task.higher_is_better().get(metrics[0], True):
                return False
        return True

    @property
    def samples(self) -> dict[str, list[int]]:
        """The samples of every task that not all are asked of; ascending, as lm-eval takes them in their own order."""
        if self.plan.limit is None and self.plan.part == "all":
            return {}
        found = {}
        for name, task in self.loaded["tasks"].items():
            found[name] = part_of(len(task.eval_docs), self.plan.part)[: self.plan.limit]
            if not found[name]:
                raise SecateurError(f"{name} has too few samples to be dealt into parts")
        return found


def score(tasks: Tasks, channel: Channel) -> dict[str, Score]:
    """Have one model answer everything, and count."""
    from lm_eval.evaluator import evaluate

    tasks.deal_shots()
    found = evaluate(
        lm=_speaker(channel),
        task_dict=tasks.loaded,
        samples=tasks.samples or None,
        bootstrap_iters=0,
        log_samples=True,
        apply_chat_template=tasks.plan.chat,
    )
    return {row.name: _score(row, tasks, found) for row in tasks.rows}


def asked(tasks: Tasks, channel: Channel) -> dict[str, dict[str, list[Any]]]:
    """Kind -> task -> what would be asked."""
    tasks.deal_shots()
    samples, speaker = tasks.samples, _speaker(channel)
    found: dict[str, dict[str, list[Any]]] = {}
    for name, task in tasks.loaded["tasks"].items():
        task.build_all_requests(
            samples=samples.get(name),
            apply_chat_template=tasks.plan.chat,
            chat_template=speaker.apply_chat_template if tasks.plan.chat else None,
        )
        for request in task.instances:
            found.setdefault(request.request_type, {}).setdefault(name, []).extend([request.args] * request.repeats)
    return found


def _speaker(channel: Channel) -> Any:
    """What lm-eval takes for a language model."""
    from lm_eval.api.model import LM

    class Speaker(LM):  # type: ignore[misc]
        tokenizer_name = ""

        def _ask(self, kind: str, requests: Sequence[Any]) -> list[Any]:
            tasks: dict[str, list[Any]] = {}
            for request in requests:
                tasks.setdefault(request.task_name, []).append(request.args)
            answers = {name: iter(found) for name, found in channel.ask({"ask": kind, "tasks": tasks}).items()}
            return [next(answers[request.task_name]) for request in requests]

        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            return [(value, greedy) for value, greedy in self._ask("loglikelihood", requests)]

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            return self._ask("loglikelihood_rolling", requests)

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            return self._ask("generate_until", requests)

        def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> Any:
            return channel.ask({"chat": chat_history, "open": add_generation_prompt})

    return Speaker()


def _rows(name: str, found: dict[str, Any]) -> Iterator[Row]:
    """A line for a group that lm-eval makes one figure of, else a line for every task."""
    group = found["groups"].get(name)
    metrics = group.aggregate_metric_list if group is not None else None
    if metrics:
        yield Row(name, tuple(task.task_name for task in group.get_all_tasks()), bool(metrics[0].weight_by_size))
    else:
        yield from (Row(leaf, (leaf,)) for leaf in found["tasks"])


def _score(row: Row, tasks: Tasks, found: dict[str, Any]) -> Score:
    first = found["samples"][row.leaves[0]]
    task = tasks.loaded["tasks"][row.leaves[0]]
    metric, kind = COMMONSENSE.get(row.name, first[0]["metrics"][0]), first[0]["filter"]
    if metric not in first[0]["metrics"]:
        metric = first[0]["metrics"][0]
    strata = []
    for leaf in row.leaves:
        samples = [sample for sample in found["samples"][leaf] if sample["filter"] == kind]
        documents = hashlib.sha256("".join(sample["doc_hash"] for sample in samples).encode()).hexdigest()
        outcomes = tuple(_outcome(sample[metric]) for sample in samples)
        strata.append(Stratum(name=leaf, outcomes=outcomes, documents=documents))
    place = found["groups"] if row.name in found.get("groups", {}) else found["results"]
    value = place[row.name][f"{metric},{kind}"]
    aggregation = task.aggregation().get(metric)
    return Score(
        metric=metric if kind == "none" else f"{metric} ({kind})",
        value=float(value),
        higher_is_better=bool(task.higher_is_better().get(metric, True)),
        aggregation=getattr(aggregation, "__name__", "mean" if aggregation is None else "unknown"),
        by_size=row.by_size,
        version=str(found["versions"].get(row.leaves[0], "")),
        shots=int(found["n-shot"].get(row.leaves[0], 0)),
        strata=tuple(strata),
    )


def _outcome(value: Any) -> float | tuple[float, float]:
    """A number, or two; what is neither cannot be resampled and counts as not a number."""
    try:
        if isinstance(value, list | tuple) and len(value) == 2:
            return float(value[0]), float(value[1])
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _hint(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ": `lm-eval ls tasks` lists them"


def main() -> int:
    """Serve one plan until the other side is gone."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no message
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches the whole group; who holds the model decides
    logging.disable(logging.WARNING)
    channel = Channel(sys.stdin, out)
    try:
        tasks = Tasks(TaskPlan.model_validate(channel.read()))
        channel.send({"ready": [row.name for row in tasks.rows], "averaged": tasks.averaged})
        while True:
            if "count" in channel.read():
                channel.send({"requests": asked(tasks, channel)})
            else:
                found = score(tasks, channel)
                channel.send({"scored": {name: of.model_dump(mode="json") for name, of in found.items()}})
    except (EOFError, BrokenPipeError):
        return 0
    except SecateurError as error:
        channel.send({"refused": str(error), "usage": isinstance(error, UsageError)})
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
