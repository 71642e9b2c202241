"""The common tasks from local files: what is asked, and what a plain computation finds for every sample."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tools.asking import (
    SHARED,
    Answers,
    log_likelihood,
    needs_shared,
    questions,
    tokens_of,
    write_samples,
)
from tools.measure.tasks import COMMONSENSE, Harness, TaskPlan, TaskScores, evaluate, subject_of
from tools.measure.tasks.harness import Tasks, asked, score
from tools.model.checkpoint import Model, open_model

SAMPLES = 50
WINDOW = 512
Row = dict[str, Any]


def answered(row: Row) -> list[tuple[str, str]]:
    """`{{query}}\\nAnswer:`, as lm-eval's arc and piqa have it."""
    return [(row["query"].removesuffix("\n") + "\nAnswer:", f" {choice}") for choice in row["choices"]]


def boolq(row: Row) -> list[tuple[str, str]]:
    """`{{passage}}\\nQuestion: {{question}}?\\nAnswer:`"""
    return [(f"{row['query'][len('Passage: ') :]}\nAnswer:", answer) for answer in (" no", " yes")]


def plain(row: Row) -> list[tuple[str, str]]:
    """`{{query}}`, as lm-eval's hellaswag and openbookqa have it."""
    return [(row["query"], f" {choice}") for choice in row["choices"]]


def winogrande(row: Row) -> list[tuple[str, str]]:
    """The sentence up to the blank with either option in it, and what follows the blank."""
    return [(option, f" {row['continuation']}") for option in row["context_options"]]


PROMPTS: dict[str, Callable[[Row], list[tuple[str, str]]]] = {
    "boolq": boolq,
    "piqa": answered,
    "hellaswag": plain,
    "winogrande": winogrande,
    "arc_easy": answered,
    "arc_challenge": answered,
    "openbookqa": plain,
}
NORMALISED = {"hellaswag", "arc_challenge", "openbookqa"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return open_model("tiny", cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def rows(tiny: Model) -> dict[str, list[Row]]:
    """The first samples of every task that the window holds."""
    found: dict[str, list[Row]] = {}
    for name, prompts in PROMPTS.items():
        file = SHARED / ("openbook_qa.jsonl" if name == "openbookqa" else f"{name}.jsonl")
        found[name] = []
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                if all(len(tokens_of(tiny, a + b)) <= WINDOW + 1 for a, b in prompts(row)):
                    found[name].append(row)
                if len(found[name]) == SAMPLES:
                    break
    return found


@pytest.fixture(scope="module")
def scores(rows: dict[str, list[Row]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskScores]:
    folder = tmp_path_factory.mktemp("tasks")
    for name, samples in rows.items():
        write_samples(folder, "openbook_qa" if name == "openbookqa" else name, samples)
    with Harness(TaskPlan(names=tuple(COMMONSENSE), data=str(folder))) as harness:
        yield evaluate(harness, subject_of("tiny", cache=folder, dtype=None, device="cpu"), cache=folder)


@needs_shared
@pytest.mark.parametrize("name", COMMONSENSE)
def test_every_outcome_is_that_of_plain_forward_passes(
    name: str, tiny: Model, rows: dict[str, list[Row]], scores: TaskScores
) -> None:
    outcomes = []
    for row in rows[name]:
        values = []
        for prompt, answer in PROMPTS[name](row):
            value = log_likelihood(tiny, [], prompt, answer)
            values.append(value / (len(answer) - 1) if name in NORMALISED else value)
        outcomes.append(float(values.index(max(values)) == row["gold"]))
    found = scores.tasks[name]
    assert found.metric == ("acc_norm" if name in NORMALISED else "acc")
    assert [stratum.outcomes for stratum in found.strata] == [tuple(outcomes)]
    assert 0 < sum(outcomes) < SAMPLES
    assert found.samples == SAMPLES
    assert found.value == pytest.approx(statistics.fmean(outcomes), rel=1e-12)
    assert found.stderr == pytest.approx(statistics.stdev(outcomes) / math.sqrt(SAMPLES), rel=1e-12)


@needs_shared
def test_the_table_is_in_the_order_of_the_papers_and_its_mean_is_that_of_the_tasks(scores: TaskScores) -> None:
    assert tuple(scores.tasks) == tuple(COMMONSENSE)
    assert scores.mean == pytest.approx(statistics.fmean(score.value for score in scores.tasks.values()))
    assert scores.protocol.asked.startswith("lm-eval 0.")
    assert scores.protocol.asked.endswith("no chat template, no BOS, local files, float32 on cpu")


def test_what_a_file_holds_is_no_template(tmp_path: Path) -> None:
    odd = {"query": "{{7 * 7}} {% if", "choices": ["{{gold}}", "choices", "gold"], "gold": 1}
    write_samples(tmp_path, "odd", [odd, {"query": "12", "choices": ["3", "4"], "gold": 0}])
    heard = Answers()
    found = score(Tasks(TaskPlan(names=("odd",), data=str(tmp_path))), heard)["odd"]  # type: ignore[arg-type]
    assert heard.asked == [{"odd": [[odd["query"], f" {c}"] for c in odd["choices"]] + [["12", " 3"], ["12", " 4"]]}]
    assert found.strata[0].outcomes == (0.0, 1.0)  # the shortest wins, and the first of two that are equal


@pytest.mark.parametrize("form", ["choices", "options"])
def test_a_sample_is_never_among_its_own_examples(tmp_path: Path, form: str) -> None:
    samples = questions(20)
    if form == "options":
        samples = [
            {"context_options": [f"{s['query']} {c}" for c in s["choices"]], "continuation": "So be it.", "gold": 1}
            for s in samples
        ]
    write_samples(tmp_path, "mine", samples)
    tasks = Tasks(TaskPlan(names=("mine",), data=str(tmp_path), shots=8))
    first, second = Answers(), Answers()
    counted = asked(tasks, first)["loglikelihood"]  # type: ignore[arg-type]
    found = score(tasks, first)["mine"]  # type: ignore[arg-type]
    score(tasks, second)  # type: ignore[arg-type]
    assert found.shots == 8
    (requests,) = first.asked
    assert second.asked == [requests], "every model is given the same examples"
    assert json.loads(json.dumps(counted)) == requests, "and they are priced by them"
    for place, (prompt, _) in enumerate(requests["mine"]):
        sample = samples[place // 2]
        *examples, own = prompt.split("\n\n")
        assert own == (sample["query"] if form == "choices" else sample["context_options"][place % 2])
        others = [s for s in samples if s is not sample]
        if form == "choices":
            possible = [f"{s['query']} {s['choices'][s['gold']]}" for s in others]
        else:
            possible = [f"{s['context_options'][1]} So be it." for s in others]
        assert len(set(examples)) == 8
        assert set(examples) <= set(possible)


def test_a_limit_takes_the_first_samples_and_the_parts_share_none(tmp_path: Path) -> None:
    samples = questions(9)
    write_samples(tmp_path, "mine", samples)

    def taken(**plan: Any) -> list[int]:
        heard = Answers()
        found = score(Tasks(TaskPlan(names=("mine",), data=str(tmp_path), **plan)), heard)["mine"]  # type: ignore[arg-type]
        prompts = [prompt for prompt, _ in heard.asked[0]["mine"]][::2]
        assert found.samples == len(prompts)
        places = [next(i for i, s in enumerate(samples) if s["query"] == prompt) for prompt in prompts]
        # The shorter answer is taken: outcomes belong to the samples that were asked.
        right = [min((0, 1), key=lambda c: len(samples[i]["choices"][c])) == samples[i]["gold"] for i in places]
        assert found.strata[0].outcomes == tuple(map(float, right))
        return places

    assert taken() == list(range(9))
    assert taken(limit=4) == [0, 1, 2, 3]
    assert taken(limit=100) == list(range(9))
    assert taken(part="judge") == [3, 7]
    assert taken(part="search") == [2, 6]
    assert taken(part="test") == [0, 1, 4, 5, 8]
    assert taken(part="test", limit=3) == [0, 1, 4]
