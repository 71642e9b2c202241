"""lm-eval's own definitions ask what the local files ask, and what cannot be asked is one line.

HellaSwag is left out: lm-eval capitalises where the second half of its context begins, and the local file keeps the
lower case, so its prompts differ on purpose.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.tools.asking import Answers, InProcess, questions, write_samples
from tools.io.errors import SecateurError, UsageError
from tools.measure.tasks import TaskPlan, task_names
from tools.measure.tasks.harness import Tasks, score
from tools.measure.tasks.local import local_file, read_samples

FOLDERS = ("piqa", "arc", "openbookqa", "winogrande", "super_glue/boolq")
LETTERS = "ABCDE"
QUESTIONS: dict[str, Any] = {
    "piqa": [
        ({"goal": "dry a shirt", "sol1": "Hang it up.", "sol2": "Put it into the fridge.", "label": 0}, None),
        ({"goal": 'open "a" jar', "sol1": "Ask it.", "sol2": "Turn the lid {{left}}.", "label": 1}, None),
    ],
    "arc_easy": [
        ("What falls from clouds?", ["rain", "stones", "sand"], 0),
        ("Which is a planet?", ["the Moon", "Mars", "Sirius", "a comet"], 1),
    ],
    "arc_challenge": [("Why is it dark at night?", ["The Sun is off.", "The Earth turns.", "It is not."], 1)],
    "openbookqa": [("Fish breathe with", ["lungs", "gills", "leaves", "legs"], 1)],
    "boolq": [("Water is wet.", "is water wet", 1), ("Ice is cold.\nIt floats.", "does ice sink", 0)],
    "winogrande": [
        ("Ann thanked Bob as _ had helped.", "Ann", "Bob", 1),
        ("The _ was too big for it.", "cup", "box", 0),
    ],
}


def theirs(name: str) -> list[dict[str, Any]]:
    """The samples as the hub's data sets have them."""
    rows: list[dict[str, Any]] = []
    for sample in QUESTIONS[name]:
        match name, sample:
            case "piqa", (row, _):
                rows.append(row)
            case "boolq", (passage, question, label):
                rows.append({"passage": passage, "question": question, "label": label})
            case "winogrande", (sentence, one, two, gold):
                rows.append({"sentence": sentence, "option1": one, "option2": two, "answer": str(gold + 1)})
            case _, (question, choices, gold):
                held = {"text": choices, "label": list(LETTERS[: len(choices)])}
                key = "question_stem" if name == "openbookqa" else "question"
                rows.append({key: question, "choices": held, "answerKey": LETTERS[gold]})
    return rows


def ours(name: str) -> list[dict[str, Any]]:
    """The same as local files have them."""
    rows: list[dict[str, Any]] = []
    for sample in QUESTIONS[name]:
        match name, sample:
            case "piqa", (row, _):
                query = f"Question: {row['goal']}\n"
                rows.append({"query": query, "choices": [row["sol1"], row["sol2"]], "gold": row["label"]})
            case "boolq", (passage, question, label):
                query = f"Passage: {passage}\nQuestion: {question}?"
                rows.append({"query": query, "choices": ["no", "yes"], "gold": label})
            case "winogrande", (sentence, one, two, gold):
                before, after = sentence.split("_")
                options = [before + one, before + two]
                rows.append({"context_options": options, "continuation": after.strip(), "gold": gold})
            case _, (question, choices, gold):
                query = question if name == "openbookqa" else f"Question: {question}"
                rows.append({"query": query, "choices": choices, "gold": gold})
    return rows


@pytest.fixture
def few_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval with some of its own tasks; to look through all of them takes it many seconds."""
    import lm_eval.tasks

    whole = lm_eval.tasks.TaskManager
    place = Path(lm_eval.tasks.__file__).parent

    def few(include_defaults: bool = True) -> Any:
        return whole(include_path=[place / name for name in FOLDERS] * include_defaults, include_defaults=False)

    monkeypatch.setattr(lm_eval.tasks, "TaskManager", few)


def by_hash(kind: str, request: Sequence[str]) -> list[Any]:
    """A log-likelihood that says nothing but which request it is of."""
    return [-int(hashlib.sha256("|".join(request).encode()).hexdigest()[:6], 16) / 1e5, False]


def test_lm_evals_own_definitions_and_local_files_ask_the_same(
    tmp_path: Path, few_tasks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    paths = {
        ("baber/piqa", None): "piqa",
        ("allenai/ai2_arc", "ARC-Easy"): "arc_easy",
        ("allenai/ai2_arc", "ARC-Challenge"): "arc_challenge",
        ("allenai/openbookqa", "main"): "openbookqa",
        ("aps/super_glue", "boolq"): "boolq",
        ("allenai/winogrande", "winogrande_xl"): "winogrande",
    }

    def load(path: str, name: str | None = None, **_: Any) -> Any:
        rows = datasets.Dataset.from_list(theirs(paths[path, name]))
        tested = "test" if "arc" in path or "openbook" in path else "validation"
        return datasets.DatasetDict(dict.fromkeys(("train", "validation", tested), rows))

    monkeypatch.setattr(datasets, "load_dataset", load)
    for name in QUESTIONS:
        write_samples(tmp_path, name, ours(name))
    names = tuple(QUESTIONS)
    own, local = Answers(by_hash), Answers(by_hash)
    found = score(Tasks(TaskPlan(names=names)), own)  # type: ignore[arg-type]
    same = score(Tasks(TaskPlan(names=names, data=str(tmp_path))), local)  # type: ignore[arg-type]
    assert own.asked == local.asked
    assert sum(len(of) for of in own.asked[0].values()) == 4 + 7 + 3 + 4 + 4 + 4
    for name in names:
        assert (found[name].metric, found[name].value) == (same[name].metric, same[name].value)
        assert [s.outcomes for s in found[name].strata] == [s.outcomes for s in same[name].strata]


def test_an_unknown_task_gets_a_hint(few_tasks: None) -> None:
    with pytest.raises(UsageError, match=r"^piqqa is no task of lm-eval; did you mean piqa\?$"):
        Tasks(TaskPlan(names=("piqqa",)))
    with pytest.raises(UsageError, match=r"^zzzz is no task of lm-eval: `lm-eval ls tasks` lists them$"):
        Tasks(TaskPlan(names=("zzzz",)))


def test_a_task_that_a_tag_holds_too_is_asked_for_twice(few_tasks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    rows = datasets.Dataset.from_list(theirs("arc_easy"))
    everywhere = datasets.DatasetDict(dict.fromkeys(("train", "validation", "test"), rows))
    monkeypatch.setattr(datasets, "load_dataset", lambda **_: everywhere)
    with pytest.raises(UsageError, match=r"^arc_easy is asked for twice: ai2_arc holds it$"):
        Tasks(TaskPlan(names=("arc_easy", "ai2_arc")))


def test_offline_the_data_of_lm_evals_own_tasks_are_not_fetched(
    few_tasks: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import datasets
    import huggingface_hub.constants

    tried: list[Any] = []

    def connect(self: socket.socket, address: Any) -> None:
        tried.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: connect(socket.socket(), address))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SecateurError, match=r"^the data of task openbookqa cannot be had") as caught:
        Tasks(TaskPlan(names=("openbookqa",)))
    assert str(caught.value).endswith("Give --task-data DIR with openbookqa.jsonl, or allow the hub.")
    assert "\n" not in str(caught.value)
    assert tried == []


GOOD = b'{"query": "a?", "choices": ["b", "c"], "gold": 1}\n'
OPTIONS = b'{"context_options": ["a", "b"], "continuation": "c", "gold": 0}\n'


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (GOOD + b"no JSON\n", "line 2: Invalid JSON"),
        (GOOD + GOOD[:20], "line 2: Invalid JSON"),
        (GOOD + b"\n" + b"[1]\n", "line 3: "),
        (GOOD.replace(b"1", b"2"), "line 1: gold is 2, and there are 2 choices"),
        (GOOD.replace(b"1", b"-1"), "line 1: gold: Input should be greater than or equal to 0"),
        (GOOD.replace(b"1", b'"1"'), "line 1: gold: Input should be a valid integer"),
        (GOOD.replace(b"1", b"true"), "line 1: gold: Input should be a valid integer"),
        (GOOD.replace(b'"c"', b'""'), "line 1: a choice is empty"),
        (GOOD.replace(b', "c"', b""), "line 1: choices: Tuple should have at least 2 items"),
        (GOOD.replace(b'["b", "c"]', b"[]"), "line 1: choices: Tuple should have at least 2 items"),
        (GOOD.replace(b"a?", b""), "line 1: query: String should have at least 1 character"),
        (GOOD.replace(b"query", b"question"), "line 1: query: Field required"),
        (OPTIONS.replace(b'"c"', b'""'), "line 1: continuation: String should have at least 1 character"),
        (OPTIONS.replace(b'"b"', b'""'), "line 1: a choice is empty"),
        (GOOD + OPTIONS, "some lines have choices and some context_options; one task has one form"),
        ("caf\xe9".encode("latin-1"), "is not UTF-8 text (byte 3)"),
        (b"", "holds no samples"),
        (b"\n  \n", "holds no samples"),
        (b"[" * 50_000, "line 1: Invalid JSON"),
    ],
)
def test_a_file_that_holds_no_task_gets_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_bytes(content)
    with pytest.raises(SecateurError) as caught:
        read_samples(file)
    assert str(caught.value).startswith(f"{file}: {says}")
    assert "\n" not in str(caught.value)


def test_files_of_other_systems_are_read_too(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    odd = '{"query": "one\u2028two\\u0085", "choices": ["é", "ü"], "gold": 0}'
    file.write_bytes(odd.encode() + b"\r\n" + GOOD.rstrip() + b"\r\n")
    first, second = read_samples(file)
    assert first.model_dump() == {"query": "one\u2028two\x85", "choices": ("é", "ü"), "gold": 0}
    assert second.gold == 1


def test_a_file_is_found_by_the_name_of_its_task(tmp_path: Path) -> None:
    write_samples(tmp_path, "openbook_qa", questions(2))
    write_samples(tmp_path, "mine", questions(2))
    assert local_file(str(tmp_path), "openbookqa").name == "openbook_qa.jsonl"
    write_samples(tmp_path, "openbookqa", questions(2))
    assert local_file(str(tmp_path), "openbookqa").name == "openbookqa.jsonl"
    with pytest.raises(UsageError, match=r"has no mi_ne.jsonl; the tasks there are mine, openbook_qa, openbookqa"):
        local_file(str(tmp_path), "mi_ne")
    with pytest.raises(UsageError, match=r"is no folder: give one that holds NAME.jsonl for every task"):
        local_file(str(tmp_path / "gone"), "mine")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="the tasks there are none"):
        local_file(str(tmp_path / "empty"), "mine")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(SecateurError, match="cannot be read"):
        read_samples(local_file(str(tmp_path), "folder"))


def test_names_are_told_apart_and_the_seven_have_one_name() -> None:
    assert task_names("commonsense")[0] == "boolq"
    assert len(task_names("commonsense, mmlu")) == 8
    assert task_names(" open_book_qa ,arceasy") == ("openbookqa", "arc_easy")
    for twice in ("piqa,piqa", "commonsense,piqa", "arc_easy,arceasy"):
        with pytest.raises(UsageError, match="twice"):
            task_names(twice)
    for none in ("", " , "):
        with pytest.raises(UsageError, match="names no task"):
            task_names(none)


def test_more_examples_than_other_samples_are_refused(tmp_path: Path) -> None:
    write_samples(tmp_path, "mine", questions(3))
    InProcess(TaskPlan(names=("mine",), data=str(tmp_path), shots=2))
    with pytest.raises(UsageError, match=r"^mine has 3 samples, too few for --shots 3 of the others$"):
        InProcess(TaskPlan(names=("mine",), data=str(tmp_path), shots=3))
    write_samples(tmp_path, "three", questions(3))
    with pytest.raises(SecateurError, match=r"^three has too few samples to be dealt into parts$"):
        score(Tasks(TaskPlan(names=("three",), data=str(tmp_path), part="judge")), Answers())  # type: ignore[arg-type]
