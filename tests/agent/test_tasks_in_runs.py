"""Tasks in a run: every line of the table answers, a part of the samples judges finalists, a designer may look."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent import tasks as answering
from agent.designer_tools.looks import evaluate as looking
from agent.designer_tools.step import Step
from agent.engine import work
from agent.reproduce import reproduce
from runs.candidate import Candidate
from runs.events import Note, TasksAnswered
from runs.fold.summary import summary
from runs.goal import Budget, Evaluation, Goal, Size
from runs.reproduction import load
from runs.run import Run, Status, create
from tests.tools.asking import InProcess
from tools.io.errors import SecateurError, UsageError
from tools.measure.tasks.plan import TaskPlan, part_of
from tools.prune.bench import Bench
from tools.recipe import Calibration
from tools.recipe.methods import method
from tools.text.windows import windows

SAMPLES = 24
WORDS = ("the", "of", "government", "year", "we", "zzyx", "people", "qqqq")


@pytest.fixture(scope="module", autouse=True)
def _in_process() -> Iterator[None]:
    """lm-eval in this process: what is tested here is who is asked what."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answering, "Harness", InProcess)
        patch.setattr(looking, "Harness", InProcess)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task of so many samples."""
    place = tmp_path_factory.mktemp("tasks")
    lines = [
        {
            "query": f"Number {i} says that {WORDS[i % 8]}",
            "choices": [WORDS[(i + k) % 8] for k in (1, 3, 6)],
            "gold": i % 3,
        }
        for i in range(SAMPLES)
    ]
    (place / "mine.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return place


def goal(folder: Path, **changes: object) -> Goal:
    part = Size(windows=2, length=64)
    fields: dict[str, object] = {
        "model": "tiny",
        "sparsity": 0.5,
        "calibration": Calibration(windows=4, length=64),
        "evaluation": Evaluation(search=part, selection=part, test=part),
        "budget": Budget(candidates=2),
        "tasks": TaskPlan(names=("mine",), data=str(folder)),
    }
    return Goal.of(**(fields | changes))


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Run:
    run = create(tmp_path_factory.mktemp("home"), goal(folder, judge="tasks"))
    work(run)
    return run


def answers(run: Run, part: str) -> dict[str, TasksAnswered]:
    found = [event for event in run.journal.read() if isinstance(event, TasksAnswered)]
    return {event.name: event for event in found if event.scores.protocol.plan.part == part}


def test_every_line_of_the_table_answers_the_test_part_once(judged: Run) -> None:
    found, lines = summary(judged.history()), answers(judged, "test")
    assert [row.name for row in found.table] == [name for name, _ in found.answered]
    assert set(lines) == {"dense", "sparsegpt", "magnitude", "wanda", found.table[-1].name}
    assert {of.scores.tasks["mine"].samples for of in lines.values()} == {SAMPLES // 2}
    assert len({of.scores.tasks["mine"].strata[0].documents for of in lines.values()}) == 1
    assert found.as_json()["tasks"]["dense"]["mean"] == lines["dense"].scores.tasks["mine"].value
    notes = [event.text for event in judged.read() if isinstance(event, Note)]
    assert any(note.startswith("tasks: 36 answers of every line of the table, less than a minute") for note in notes)


def test_the_judging_part_chooses_between_finalists_and_is_of_no_line(judged: Run) -> None:
    found, finalists = summary(judged.history()), answers(judged, "judge")
    assert len(finalists) >= 2
    means = {name: of.scores.mean for name, of in finalists.items()}
    best = max(means.values(), key=float)
    tied = {name for name, mean in means.items() if mean == best}
    trials = {trial.candidate.id: trial.value for trial in found.finalists}
    assert found.table[-1].name == min(tied, key=lambda name: trials[name])
    assert {of.scores.tasks["mine"].samples for of in finalists.values()} == {SAMPLES // 4}
    (judging,) = {of.scores.tasks["mine"].strata[0].documents for of in finalists.values()}
    assert judging not in {of.scores.tasks["mine"].strata[0].documents for of in answers(judged, "test").values()}


@pytest.mark.parametrize("total", [4, 7, 24])
def test_parts_share_no_sample_and_are_all_together(total: int) -> None:
    parts = [part_of(total, part) for part in ("test", "search", "judge")]
    assert sorted(chain(*parts)) == part_of(total, "all") == list(range(total))


def test_reports_show_the_tasks(judged: Run) -> None:
    table = summary(judged.history()).tasks
    assert table is not None
    text, page = judged.report_md.read_text(), judged.report_html.read_text()
    assert "## Tasks" in text
    assert "mean of tasks (judging part)" in text
    for row in table.rows()[1:]:
        assert row[2] in text
    assert "<h2>Tasks</h2>" in page
    assert page.count('class="interval"') == 4
    last = [event for event in judged.read() if event.event == "run_finished"][-1]
    assert table.conclusion.split(" ", 3)[-1] in last.summary.replace("the dense model", "dense")


def test_scores_are_reproduced_to_the_last_digit(judged: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.measure.tasks.process.Harness", InProcess)
    file = load(judged.reproduction_file)
    assert {name for row in file.rows for name in row.scores} == {"mine"}
    done = reproduce(file, cache=judged.home / "cache")
    assert {number.verdict for number in done.numbers} == {"the same to the last digit"}
    assert sum(number.name == "mine" for number in done.numbers) == len(file.rows)
    monkeypatch.setattr("tools.measure.tasks.local.sha256", lambda file: "0" * 64)
    with pytest.raises(SecateurError, match=r"the tasks are not what they were \(mine\)"):
        reproduce(file, cache=judged.home / "cache")


def test_a_resumed_run_asks_no_line_twice(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create(tmp_path, goal(folder, method="wanda"))
    asked: list[str] = []
    evaluate = answering.evaluate

    def once(harness: Any, subject: Any, **more: Any) -> Any:
        asked.append(subject.treatment)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return evaluate(harness, subject, **more)

    monkeypatch.setattr(answering, "evaluate", once)
    with pytest.raises(KeyboardInterrupt):
        work(run)
    assert set(answers(run, "all")) == {"dense"}
    work(run)
    assert run.status() is Status.FINISHED
    assert [treatment == "" for treatment in asked] == [True, False, False]
    assert set(answers(run, "all")) == {"dense", "wanda"}
    assert {of.scores.tasks["mine"].samples for of in answers(run, "all").values()} == {SAMPLES}


def test_what_cannot_be_asked_is_told_before_the_search(tmp_path: Path, folder: Path) -> None:
    long = folder.parent / "long"
    long.mkdir(exist_ok=True)
    sample = {"query": "word " * 600, "choices": ["a", "b"], "gold": 0}
    (long / "mine.jsonl").write_text(json.dumps(sample) + "\n")
    with pytest.raises(SecateurError, match="tiny has 512 positions"):
        work(create(tmp_path, goal(long)))
    few = folder.parent / "few"
    few.mkdir(exist_ok=True)
    (few / "mine.jsonl").write_text(json.dumps(sample | {"query": "a"}) + "\n")
    with pytest.raises(SecateurError, match="mine has too few samples to be dealt into parts"):
        work(create(tmp_path, goal(few, judge="tasks")))
    with pytest.raises(UsageError, match="--judge tasks chooses between finalists"):
        goal(folder, judge="tasks", method="wanda")
    with pytest.raises(UsageError, match="--judge tasks chooses between finalists"):
        goal(folder, judge="tasks", tasks=None)


def test_a_designer_is_told_the_price_and_then_the_scores(judged: Run, folder: Path) -> None:
    from tools.model.checkpoint import open_model

    model = open_model("tiny", cache=judged.home / "cache")
    calibration = windows("builtin", model, part="calibration", count=4, length=64)
    bench = Bench(model, calibration, None)
    candidate = Candidate(id="c-7", recipe=method("wanda", 0.5), operator="seed")
    history = SimpleNamespace(candidates={"c-7": candidate}, rejected={}, ranked=lambda: [candidate])
    here: Any = SimpleNamespace(goal=goal(folder, designer="openai:x"), bench=bench, history=history)
    assert here.goal.table_tasks.part == "test"
    nobody: Any = None  # screens nothing: a look proposes nothing
    step = Step(here, nobody, home=judged.home, wanted=1)

    def asked(names: list[str], allowed: float) -> str:
        request = looking.Evaluate(candidate="c-7", tasks=names, samples=6, minutes=allowed)
        return looking.TOOL.work(step, request)

    assert asked(["mine"], 0.0).startswith("it would take less than a minute; ask again")
    told = asked(["mine"], 5.0)
    assert "mine (acc, 6 samples): " in told
    assert "c-7" in told.splitlines()[-1]
    assert asked(["mine"], 0.0) == told  # what is known costs nothing
    with pytest.raises(UsageError, match="mmlu is none of this run's tasks: mine"):
        asked(["mmlu"], 5.0)
    with pytest.raises(UsageError, match="c-8 is not a measured candidate"):
        looking.TOOL.work(step, looking.Evaluate(candidate="c-8", tasks=["mine"], samples=6, minutes=5.0))


def test_only_a_language_model_with_tasks_is_offered_the_tool(folder: Path) -> None:
    assert goal(folder, designer="openai:x").looks_at_tasks
    assert not goal(folder).looks_at_tasks
    assert goal(folder).table_tasks == goal(folder).tasks
    assert not goal(folder, designer="openai:x", tasks=None).looks_at_tasks
