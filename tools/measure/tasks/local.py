"""Tasks from local JSONL files, asked as lm-eval's own definitions of the same tasks ask them.

A line is `{"query", "choices", "gold"}`, or where the choices differ before the answer (WinoGrande)
`{"context_options", "continuation", "gold"}`. For the common tasks the prompt is brought to lm-eval's form: passage
without a title, `Answer:` after a question.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError

from tools.io.errors import SecateurError, UsageError, reason
from tools.io.files import expanded, sha256
from tools.io.frozen import Frozen, first_problem
from tools.measure.tasks.plan import COMMONSENSE

_ANSWERED = ("boolq", "piqa", "arc_easy", "arc_challenge")
"""Tasks whose prompt ends in `Answer:`."""


class Choice(Frozen):
    """A question with choices after it."""

    query: str = Field(min_length=1)
    choices: tuple[str, ...] = Field(min_length=2)
    gold: int = Field(ge=0)


class Options(Frozen):
    """A continuation after one of several beginnings."""

    context_options: tuple[str, ...] = Field(min_length=2)
    continuation: str = Field(min_length=1)
    gold: int = Field(ge=0)


Sample = Choice | Options
_SAMPLE: TypeAdapter[Sample] = TypeAdapter(Sample)


def local_file(folder: str, name: str) -> Path:
    """The file of a task.

    Raises:
        UsageError: the folder has none.
    """
    place = expanded(folder)
    if not place.is_dir():
        raise UsageError(f"--task-data {folder} is no folder: give one that holds NAME.jsonl for every task")
    files = sorted(place.glob("*.jsonl"))
    for file in sorted(files, key=lambda file: file.stem != name):  # the name itself before another spelling of it
        if file.stem == name or (name in COMMONSENSE and file.stem.replace("_", "") == name.replace("_", "")):
            return file
    held = ", ".join(file.stem for file in files[:20]) or "none"
    raise UsageError(f"{place} has no {name}.jsonl; the tasks there are {held}")


def read_samples(file: Path) -> list[Sample]:
    """All samples of a file.

    Raises:
        SecateurError: it cannot be read, is empty or a line is no sample; the message names the line.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise SecateurError(f"{file}: cannot be read ({reason(error)})") from error
    except UnicodeDecodeError as error:
        raise SecateurError(f"{file}: is not UTF-8 text (byte {error.start})") from error
    found = [_sample(file, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise SecateurError(f"{file}: holds no samples")
    if len({type(sample) for sample in found}) > 1:
        raise SecateurError(f"{file}: some lines have choices and some context_options; one task has one form")
    return found


def _sample(file: Path, number: int, line: str) -> Sample:
    try:
        # Told apart by what is there, so that the complaint is about the form that was meant.
        kind: type[Sample] = Options if '"context_options"' in line else Choice
        sample = kind.model_validate_json(line, strict=True)
    except ValidationError as error:
        raise SecateurError(f"{file}: line {number}: {first_problem(error)}") from error
    choices = sample.choices if isinstance(sample, Choice) else sample.context_options
    if sample.gold >= len(choices):
        raise SecateurError(f"{file}: line {number}: gold is {sample.gold}, and there are {len(choices)} choices")
    if not all(choices):
        raise SecateurError(f"{file}: line {number}: a choice is empty")
    return sample


def definition(name: str, file: Path) -> dict[str, Any]:
    """lm-eval's configuration of a task over a file."""
    samples = read_samples(file)
    options = isinstance(samples[0], Options)
    documents = [_document(name, sample) for sample in samples]
    accuracies = [{"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in ("acc", "acc_norm")]
    return {
        "task": name,
        "custom_dataset": lambda **_: _dataset(documents),
        "output_type": "multiple_choice",
        "test_split": "test",
        "fewshot_split": "test",  # named, or lm-eval does not leave a sample out of its own examples
        "doc_to_text": "{{gold}}" if options else "query",
        "doc_to_choice": "context_options" if options else "choices",
        "doc_to_target": "continuation" if options else "gold",
        "metric_list": accuracies[:1] if options else accuracies,
        "metadata": {"version": f"local {sha256(file)[:12]}"},
    }


def _dataset(documents: list[dict[str, Any]]) -> Any:
    import datasets

    return datasets.DatasetDict({"test": datasets.Dataset.from_list(documents)})


def _document(name: str, sample: Sample) -> dict[str, Any]:
    document = sample.model_dump(mode="json")
    if isinstance(sample, Choice) and name in _ANSWERED:
        query = sample.query.removeprefix("Passage: ").rstrip()
        document["query"] = query if query.endswith("Answer:") else f"{query}\nAnswer:"
    return document
