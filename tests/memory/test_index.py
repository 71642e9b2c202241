from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memory.index import Memory, _collection, _digest
from memory.remembered import Remembered, of_run
from runs.fold.history import History
from runs.goal import Goal
from runs.run import create
from tools.io.errors import SecateurError, UsageError
from tools.recipe import Unstructured
from tools.recipe.methods import method

ROOT = Path(__file__).parents[2]

WRITE_ONE_BY_ONE = """
import sys
from pathlib import Path
from memory.index import Memory
from memory.remembered import Remembered
home, source, name, number = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
one = Remembered.model_validate_json(source.read_text())
memory = Memory(home)
print("ready", flush=True)
for i in range(number):
    memory.upsert([one.model_copy(update={"id": f"{name}/c-{i}"})])
"""


@pytest.fixture
def remembered(story: Any) -> list[Remembered]:
    return of_run(History.of(story.whole().events))


def writer(home: Path, one: Remembered, name: str, number: int) -> subprocess.Popen[str]:
    source = home / "one.json"
    source.write_text(one.model_dump_json())
    command = [sys.executable, "-c", WRITE_ONE_BY_ONE, str(home), str(source), name, str(number)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_an_empty_memory_answers_and_makes_no_folder(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    assert memory.count() == 0
    assert memory.search("") == []
    assert memory.recall(np.ones(65), Unstructured(), 0.5) == []
    memory.upsert([])
    assert list(tmp_path.iterdir()) == []


def test_what_is_remembered_comes_back_whole_and_once(tmp_path: Path, remembered: list[Remembered]) -> None:
    Memory(tmp_path).upsert(remembered)
    better = remembered[0].model_copy(update={"divergence": 0.1})
    Memory(tmp_path).upsert([better])
    assert Memory(tmp_path).count() == 2
    assert Memory(tmp_path).all() == [better, remembered[1]]
    assert Memory(tmp_path).show("calm-heron-7/c-1") == better
    with pytest.raises(UsageError, match="memory calm/c-9 is not known"):
        Memory(tmp_path).show("calm/c-9")


def test_search_wants_every_word_and_ranks_by_success(tmp_path: Path, remembered: list[Remembered]) -> None:
    memory = Memory(tmp_path)
    memory.upsert(remembered)
    assert [item.id for item in memory.search("TINY unstructured")] == ["calm-heron-7/c-1", "calm-heron-7/c-2"]
    assert [item.id for item in memory.search("sqr(w)")] == ["calm-heron-7/c-2"]
    assert memory.search("tiny 2:4") == []
    published = remembered[0].model_copy(update={"recipe": method("wanda", 0.6), "id": "calm-heron-7/c-9"})
    memory.upsert([published])
    assert [item.id for item in memory.search("wanda")] == ["calm-heron-7/c-9"]


def test_recall_finds_the_exact_model_among_near_duplicates(tmp_path: Path, remembered: list[Remembered]) -> None:
    rng = np.random.default_rng(0)
    vector = np.array(remembered[0].model_vector)
    crowd = [
        remembered[0].model_copy(
            update={"id": f"crowd/c-{i}", "model_vector": tuple(vector + rng.normal(0, 1e-2, vector.size))}
        )
        for i in range(300)
    ]
    memory = Memory(tmp_path)
    memory.upsert([*crowd, remembered[0]])
    (found,) = memory.recall(vector, Unstructured(), 0.5)
    assert found.memory.id == remembered[0].id
    assert found.similarity == pytest.approx(1.0)


def test_two_processes_write_at_once_and_nothing_is_lost(tmp_path: Path, remembered: list[Remembered]) -> None:
    writers = [writer(tmp_path, remembered[0], name, 25) for name in ("a", "b")]
    assert [process.wait(timeout=120) for process in writers] == [0, 0]
    found = Memory(tmp_path).all()
    assert {item.id for item in found} == {f"{name}/c-{i}" for name in ("a", "b") for i in range(25)}


def test_a_writer_killed_at_work_leaves_a_memory_that_works(tmp_path: Path, remembered: list[Remembered]) -> None:
    process = writer(tmp_path, remembered[0], "a", 100_000)
    while Memory(tmp_path).count() < 3:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    memory = Memory(tmp_path, wait=1.0)
    before = memory.count()
    memory.upsert(remembered)
    assert memory.count() == before + 2
    assert len(memory.all()) == before + 2


def test_rebuild_equals_what_the_journals_tell(tmp_path: Path, new_story: Any) -> None:
    expected = []
    for name in ("a", "b"):
        run = create(tmp_path, Goal(model=name, sparsity=0.5))
        story = new_story(run=run.id).whole()
        for event in story.events:
            run.journal.append(event)
        expected += of_run(History.of(story.events))
    create(tmp_path, Goal(model="not started", sparsity=0.5))
    memory = Memory(tmp_path)
    memory.upsert([expected[0].model_copy(update={"id": "removed-run-1/c-1"})])
    assert memory.rebuild() == 4
    assert sorted(item.id for item in memory.all()) == sorted(item.id for item in expected)
    assert memory.rebuild() == 4
    assert {path.name for path in memory.folder.iterdir()} == {"chroma", "lock"}


def _no_database(memory: Memory) -> None:
    (memory.folder / "chroma" / "chroma.sqlite3").write_bytes(b"not a database" * 1000)


def _a_file(memory: Memory) -> None:
    shutil.rmtree(memory.folder / "chroma")
    (memory.folder / "chroma").write_text("in the way")


def _another_number(memory: Memory) -> None:
    with _collection(memory.folder / "chroma") as collection:
        held = collection.get(include=["documents", "embeddings"])
        documents, embeddings = held["documents"], held["embeddings"]
        assert documents is not None
        assert '"divergence":0.9' in documents[1]
        documents[1] = documents[1].replace('"divergence":0.9', '"divergence":0.1')
        collection.update(ids=held["ids"], documents=documents, embeddings=embeddings)


@pytest.mark.parametrize("damage", [_no_database, _a_file, _another_number])
def test_a_damaged_index_is_set_aside_and_made_anew_from_the_runs(
    damage: Callable[[Memory], None], tmp_path: Path, new_story: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run = create(tmp_path, Goal(model="tiny", sparsity=0.5))
    for event in new_story(run=run.id).whole().events:
        run.journal.append(event)
    memory = Memory(tmp_path)
    memory.rebuild()
    known = memory.all()
    damage(memory)
    assert memory.all() == known
    told = [record.getMessage() for record in caplog.records if record.name == "tools.io.shelf"]
    assert len(told) == 1
    assert told[0].endswith("it is set aside as chroma.damaged and made anew")
    assert {path.name for path in memory.folder.iterdir()} == {"chroma", "chroma.damaged", "lock"}


def test_one_unreadable_run_does_not_keep_the_others_out_of_memory(
    tmp_path: Path, new_story: Any, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = (create(tmp_path, Goal(model="tiny", sparsity=0.5)) for _ in range(2))
    for event in new_story(run=good.id).whole().events:
        good.journal.append(event)
    bad.journal.path.mkdir()
    assert Memory(tmp_path).rebuild() == 2
    assert f"run {bad.id} is left out of memory" in caplog.text


@pytest.mark.parametrize("change", [{"from_tomorrow": 1}, {"model_vector": [1.0, 2.0]}])
def test_what_this_version_does_not_write_is_said(
    change: dict[str, Any], tmp_path: Path, remembered: list[Remembered]
) -> None:
    memory = Memory(tmp_path)
    memory.upsert(remembered)
    document = json.loads(remembered[0].model_dump_json()) | change
    with _collection(memory.folder / "chroma") as collection:
        held = collection.get(ids=[remembered[0].id], include=["embeddings"])["embeddings"]
        written = json.dumps(document)
        labels = [{"sha256": _digest(written)}]
        collection.update(ids=[remembered[0].id], documents=[written], embeddings=held, metadatas=labels)
    with pytest.raises(SecateurError, match=r"cannot read.*`secateur memory rebuild` makes it anew") as caught:
        memory.recall(np.ones(65), Unstructured(), 0.5)
    assert "\n" not in str(caught.value)


def test_a_memory_in_use_is_waited_for_and_then_named(tmp_path: Path, remembered: list[Remembered]) -> None:
    from tools.io.lock import hold

    (tmp_path / "memory").mkdir()
    with hold(tmp_path / "memory" / "lock"), pytest.raises(SecateurError, match=f"in use .held by pid {os.getpid()}"):
        Memory(tmp_path, wait=0.1).upsert(remembered)


def test_export_writes_one_line_per_memory(tmp_path: Path, remembered: list[Remembered]) -> None:
    memory = Memory(tmp_path)
    memory.upsert(remembered)
    path = tmp_path / "out.jsonl"
    assert memory.export(path) == 2
    lines = path.read_text().splitlines()
    assert [Remembered.model_validate(json.loads(line)) for line in lines] == remembered
    with pytest.raises(SecateurError, match="cannot be written"):
        memory.export(tmp_path / "nowhere" / "out.jsonl")
    shutil.rmtree(memory.folder)
    assert memory.export(path) == 0


def test_nothing_is_asked_of_the_network_or_a_model(tmp_path: Path, remembered: list[Remembered]) -> None:
    """The collection is opened in a fresh process in which every connection fails."""
    program = (
        "import socket, sys\n"
        "from pathlib import Path\n"
        "def refuse(*_): raise SystemExit('asked for the network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from memory.index import Memory\n"
        "from memory.remembered import Remembered\n"
        "memory = Memory(Path(sys.argv[1]))\n"
        "memory.upsert([Remembered.model_validate_json(sys.argv[2])])\n"
        "print(memory.count())\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path), remembered[0].model_dump_json()]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout) == (0, "1\n"), result.stderr
