"""An evaluation that was killed goes on after its last batch, to the same last digit; damage is made anew."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.tools.asking import InProcess, questions, write_samples
from tools.io.errors import SecateurError
from tools.measure.tasks import Subject, TaskPlan, TaskScores, evaluate, price, subject_of
from tools.measure.tasks.answers import Folder
from tools.measure.tasks.speaker import Speaker
from tools.model.sample import TINY

BATCH = 64
"""Tokens of a batch: some dozen batches."""


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> InProcess:
    folder = tmp_path_factory.mktemp("tasks")
    write_samples(folder, "mine", questions(12))
    options = [{"context_options": [f"He {i}", f"They {i}"], "continuation": "is right.", "gold": 0} for i in range(6)]
    write_samples(folder, "other", options)
    return InProcess(TaskPlan(names=("mine", "other"), data=str(folder)))


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return subject_of("tiny", cache=tmp_path_factory.mktemp("cache"), dtype=None, device="cpu")


class Spy:
    """Notes which batches a model answers, and is killed before one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[str] = []
        self.killed_before = 10**9
        answer = Speaker.answer

        def spied(speaker: Speaker, kind: str, requests: Sequence[Any], batch_tokens: int) -> list[Any]:
            if len(self.batches) == self.killed_before:
                raise KeyboardInterrupt
            self.batches.append(json.dumps(requests))
            return answer(speaker, kind, requests, batch_tokens)

        monkeypatch.setattr(Speaker, "answer", spied)


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    return Spy(monkeypatch)


def ask(harness: InProcess, subject: Subject, cache: Path | None) -> TaskScores:
    return evaluate(harness, subject, cache=cache, batch_tokens=BATCH)  # type: ignore[arg-type]


def files(cache: Path) -> list[Path]:
    return sorted(cache.glob("answers/*/*.jsonl"))


def answers(cache: Path) -> dict[str, dict[int, Any]]:
    """By file and place, without the order in which they came."""
    found: dict[str, dict[int, Any]] = {}
    for file in files(cache):
        for line in file.read_text().splitlines():
            kept = json.loads(line.partition(" ")[2])
            found.setdefault(file.name, {}).update(zip(kept["places"], kept["answers"], strict=True))
    return found


def test_a_killed_evaluation_goes_on_and_nothing_is_answered_twice(
    tmp_path: Path, harness: InProcess, subject: Subject, spy: Spy
) -> None:
    whole = ask(harness, subject, tmp_path / "whole")
    every = spy.batches[:]
    assert len(every) == len(set(every))
    assert len(every) > 6
    for killed in (1, 3, len(every) - 1):
        cache = tmp_path / str(killed)
        spy.batches.clear()
        spy.killed_before = killed
        with pytest.raises(KeyboardInterrupt):
            ask(harness, subject, cache)
        spy.killed_before = 10**9
        again = ask(harness, subject, cache)
        assert spy.batches == every, "every batch once, in two parts"
        assert again.tasks == whole.tasks
        assert answers(cache) == answers(tmp_path / "whole")


def test_what_is_known_opens_no_model(tmp_path: Path, harness: InProcess, subject: Subject, spy: Spy) -> None:
    first = ask(harness, subject, tmp_path)
    spy.killed_before = 0

    def never() -> Any:
        raise AssertionError("nothing has to be answered")

    closed = Subject(**{**vars(subject), "open": never})
    again = evaluate(harness, closed, cache=tmp_path)  # type: ignore[arg-type]
    assert again.tasks == first.tasks
    assert again.protocol == first.protocol
    assert price(harness, closed, cache=tmp_path).tokens == 0  # type: ignore[arg-type]
    other = Subject(**{**vars(closed), "treatment": "pruned"})
    with pytest.raises(AssertionError, match="nothing has to be answered"):
        evaluate(harness, other, cache=tmp_path)  # type: ignore[arg-type]


def test_a_price_counts_what_is_left(tmp_path: Path, harness: InProcess, subject: Subject) -> None:
    whole = price(harness, subject, cache=tmp_path)  # type: ignore[arg-type]
    assert whole.samples == 2 * 12 + 2 * 6
    assert whole.tokens > 0
    assert whole.minutes == pytest.approx(whole.tokens / whole.tokens_per_second / 60)
    assert not files(tmp_path)
    ask(harness, subject, tmp_path)
    assert price(harness, subject, cache=tmp_path).minutes == 0  # type: ignore[arg-type]


def test_without_a_cache_nothing_is_written_and_the_answers_are_the_same(
    tmp_path: Path, harness: InProcess, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ask(harness, subject, None).tasks == ask(harness, subject, tmp_path / "cache").tasks
    assert [file.name for file in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_line_that_was_not_finished_is_answered_again(
    tmp_path: Path, harness: InProcess, subject: Subject, spy: Spy, caplog: pytest.LogCaptureFixture, cut: int
) -> None:
    whole, kept = ask(harness, subject, tmp_path), answers(tmp_path)
    every = len(spy.batches)
    file = files(tmp_path)[0]
    file.write_bytes(file.read_bytes()[:-cut])
    assert ask(harness, subject, tmp_path).tasks == whole.tasks
    assert len(spy.batches) == every + 1
    assert answers(tmp_path) == kept
    assert caplog.records == []


@pytest.mark.parametrize("damage", ["digit", "bytes"])
def test_a_damaged_line_makes_its_file_anew_with_a_warning(
    tmp_path: Path, harness: InProcess, subject: Subject, spy: Spy, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    whole, kept = ask(harness, subject, tmp_path), answers(tmp_path)
    every = len(spy.batches)
    file = max(files(tmp_path), key=lambda file: file.stat().st_size)
    lines = file.read_bytes().splitlines(keepends=True)
    of_file = len(lines)
    assert of_file > 2
    place = lines[1].rindex(b".") + 1
    lines[1] = lines[1][:place] + (b"x" if damage == "digit" else b"\xff") + lines[1][place + 1 :]
    file.write_bytes(b"".join(lines))
    with caplog.at_level(logging.WARNING, "tools.io.shelf"):
        assert ask(harness, subject, tmp_path).tasks == whole.tasks
    (told,) = caplog.records
    assert told.getMessage().startswith(f"{file} was damaged (")
    assert told.getMessage().endswith(f"it is set aside as {file.name}.damaged and made anew")
    assert len(spy.batches) == every + of_file
    assert answers(tmp_path) == kept


def test_answers_are_those_of_one_model_one_list_of_requests_and_one_size_of_batches(tmp_path: Path) -> None:
    requests = [["a", "b"], ["c", "d"]]
    folder = Folder(tmp_path, {"model": "one"})
    folder.begin(64)
    folder.record("loglikelihood", requests).keep([1], [[-1.5, True]])
    assert folder.record("loglikelihood", requests).answers == [None, [-1.5, True]]
    assert Folder(tmp_path, {"model": "one"}).batch_tokens == 64
    assert Folder(tmp_path, {"model": "one"}).record("loglikelihood", requests).answers == [None, [-1.5, True]]
    assert folder.record("loglikelihood", requests[::-1]).answers == [None, None]
    assert folder.record("loglikelihood_rolling", requests).answers == [None, None]
    other = Folder(tmp_path, {"model": "two"})
    assert other.batch_tokens is None
    other.begin(64)
    assert other.record("loglikelihood", requests).answers == [None, None]
    folder.begin(128)
    assert folder.record("loglikelihood", requests).answers == [None, None]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    folder = Folder(tmp_path, {})
    folder.begin(64)
    record = folder.record("loglikelihood", [["a", "b"]])
    assert folder.path is not None
    for file in folder.path.iterdir():
        file.unlink()
    folder.path.rmdir()
    folder.path.write_text("in the way")
    with pytest.raises(SecateurError, match=r"cannot be written \(.*\)\. Make room or give access\.$"):
        record.keep([0], [[-1.0, False]])


def test_a_subject_is_told_apart_by_all_that_decides_its_answers(subject: Subject) -> None:
    for field in ("fingerprint", "tokenizer", "begin", "dtype", "device", "treatment"):
        assert Subject(**{**vars(subject), field: "another"}).identity() != subject.identity()
    assert subject.identity()["model"] != TINY.name
