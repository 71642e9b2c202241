from __future__ import annotations

import math
import multiprocessing
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.events import Answered, Asked, Note, Progress, RunStarted, Said, Spoke, Unreadable
from runs.fold.history import History
from runs.journal import Journal, decode, encode
from tools.io.errors import SecateurError

ODD_TEXT = 'line one\nline two\u2028 "quoted" \\ ü 🌱 {"event": "note"}'


def texts(journal: Journal) -> list[str]:
    return [event.text for event in journal.read() if isinstance(event, Note)]


def test_a_file_cut_at_any_byte_of_its_last_line_reads_and_takes_new_events(tmp_path: Path) -> None:
    whole = Journal(tmp_path / "whole.jsonl")
    for text in ("one", ODD_TEXT, "three" + ODD_TEXT):
        whole.append(Note(text=text))
    data = whole.path.read_bytes()
    last_line = data[:-1].rfind(b"\n") + 1
    for cut in range(last_line, len(data)):
        torn = Journal(tmp_path / "torn.jsonl")
        torn.path.write_bytes(data[:cut])
        assert texts(torn) == ["one", ODD_TEXT]
        torn.append(Note(text="after"))
        assert texts(torn) == ["one", ODD_TEXT, "after"]
        assert torn.path.read_bytes().startswith(data[:last_line])


def test_a_first_line_without_an_end_is_cut_off(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.path.write_bytes(b"\0" * 200_000)  # what some file systems leave after a power cut
    assert journal.read() == []
    journal.append(Note(text="after"))
    assert journal.path.read_bytes().count(b"\0") == 0
    assert texts(journal) == ["after"]


@given(text=st.text(), value=st.floats(allow_nan=False))
def test_every_text_and_number_comes_back(text: str, value: float) -> None:
    from runs.events import CandidateMeasured
    from tools.recipe.measurement import Measurement, Protocol

    protocol = Protocol(text=text, text_sha256="", windows=1, length=8, dtype="", device="", model="")
    measurement = Measurement(kind="perplexity", value=value, tokens=1, sparsity=0, seconds=0, protocol=protocol)
    event = CandidateMeasured(candidate_id="c-1", recipe_id="r", measurement=measurement)
    line = encode(event)
    assert b"\n" not in line
    assert decode(line) == event


def test_secrets_are_cut_out_of_texts_and_numbers_stay(
    tmp_path: Path, story: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "000000")
    monkeypatch.setenv("MY_SECRET", 'a "quoted\\key"')
    journal = Journal(tmp_path / "j.jsonl")
    measured = story.measure("c-1", 0.30000000000000004).events[-1]
    assert journal.append(measured) == measured
    assert texts(journal) == []
    written = journal.append(Note(text='it is a "quoted\\key" and 000000'))
    assert journal.read() == [measured, written]
    assert texts(journal) == ["it is *** and ***"]


def test_broken_characters_become_question_marks(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.append(Note(text="half \ud83d"))
    assert texts(journal) == ["half ?"]


def test_unknown_kinds_and_fields_are_skipped_and_damage_is_told(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    lines = ['{"event":"from_the_future","x":1}', '{"no":"kind"}', '{"event":"note","text":"a","new_field":1}']
    journal.path.write_text("\n".join([*lines, "{damaged", '{"event":"note","text":"b"}', "\0\0", ""]))
    events = journal.read()
    assert [isinstance(event, Unreadable) for event in events] == [False, True, False]
    told = texts(journal)
    assert told[::2] == ["a", "b"]
    assert told[1].startswith("j.jsonl: 2 lines cannot be read and what they said is lost (")
    assert events[1].at == events[0].at  # no time of its own that a budget would be charged with


def test_lines_that_stand_twice_count_once(tmp_path: Path, story: Any) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    for event in story.whole().events:
        journal.append(event)
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(b"".join([*lines[:9], *lines[2:9], *lines[9:], *lines[4:6]]))
    assert journal.read() == story.events
    assert History.of(journal.read()).ledger.spent == History.of(story.events).ledger.spent
    again = [Said(text="more"), Said(text="more")]  # said twice, not copied
    for said in again:
        journal.append(said)
    assert journal.read() == [*story.events, *again]


def test_infinite_values_are_valid_json(story: Any) -> None:
    import json

    event = story.measure("c-1", math.inf).events[-1]
    assert json.loads(encode(event), parse_constant=pytest.fail)["measurement"]["value"] == "Infinity"
    assert decode(encode(event)) == event


def test_follow_yields_each_event_once_and_ends_with_the_writer(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    over = threading.Event()

    def write() -> None:
        for number in range(20):
            journal.append(Note(text=str(number)))
            time.sleep(0.002)
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    followed = [event.text for event in journal.follow(until=over.is_set, poll=0.001) if isinstance(event, Note)]
    writer.join()
    assert followed == [str(number) for number in range(20)]


def test_follow_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    line = encode(Note(text="slow"))
    journal.path.write_bytes(line[:10])
    seen: list[str] = []

    def until() -> bool:
        if not seen:
            seen.append("asked")
            return False
        journal.path.write_bytes(line + b"\n")
        return True

    assert [event.event for event in journal.follow(until=until, poll=0.0)] == ["note"]


def _append_many(path: Path, name: str) -> None:
    for number in range(50):
        Journal(path).append(Progress(stage=name, done=number, total=50))


def test_processes_may_append_to_one_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    path = tmp_path / "inbox.jsonl"
    processes = [context.Process(target=_append_many, args=(path, name)) for name in ("a", "b")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    steps = [(event.stage, event.done) for event in Journal(path).read() if isinstance(event, Progress)]
    assert sorted(steps) == [(name, number) for name in ("a", "b") for number in range(50)]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    import resource

    journal = Journal(tmp_path / "j.jsonl")
    journal.append(Note(text="first"))
    before = journal.path.read_bytes()
    import signal

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, hard))
    try:
        with pytest.raises(SecateurError, match=r"j\.jsonl: cannot be written"):
            journal.append(Note(text="second"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert journal.path.read_bytes() == before


def test_a_missing_folder_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match="No such file or directory"):
        Journal(tmp_path / "nowhere" / "j.jsonl").append(Note(text="x"))


def test_times_are_utc(story: Any) -> None:
    assert isinstance(story.start().events[0], RunStarted)
    assert Note(text="x").at.utcoffset() is not None
    assert encode(Note(text="x")).split(b'"')[3].endswith(b"Z")


def test_text_never_commands_a_terminal() -> None:
    note = Note(text="a\x1b[2Jb\x00c\r\nd\te\x9bf")
    assert note.text == "a?[2Jb?c\nd\te?f"


def test_what_later_lines_say_again_is_left_out_of_a_first_look(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for event in (
        Asked(call="1/design/1", model="m", messages=()),
        Spoke(call="1/design/1", text="hm"),
        Answered(call="1/design/1", text="hm"),
        Progress(stage="search", done=1, total=3),
        Note(text='about "spoke" and "progress"'),
        Progress(stage="search", done=2, total=3),
        Asked(call="1/design/2", model="m", messages=()),
        Spoke(call="1/design/2", text="still"),
    ):
        journal.append(event)
    found, end = journal.since(0, settled=True)
    assert [event.event for event in found] == ["answered", "note", "progress", "asked", "spoke"]
    assert end == journal.path.stat().st_size
    assert journal.since(end) == ([], end)
