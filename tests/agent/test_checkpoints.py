"""What becomes of a run whose checkpoints, caches or journal are damaged or lost."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.sqlite import SqliteSaver

from agent.checkpoints import check, opened, start
from agent.context import Context, State
from agent.designers.builtin import Builtin
from agent.engine import work
from agent.graph import build
from agent.nodes.select import place
from agent.recorder import Recorder
from agent.session.start import carry_out
from runs.events import CandidateMeasured, CandidateProposed, Note
from runs.report import write
from runs.run import Run, create
from tests.agent.searches import LAST, copied, goal, measured_twice, sql, winner
from tools.io.errors import SecateurError
from tui.app.panes.runs import known


def test_checkpoints_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    run = create(tmp_path, goal(method="magnitude"))
    run.journal.append(Note(text="it had begun"))
    with closing(opened(run.checkpoints)) as connection:
        SqliteSaver(connection).setup()
        full = "SELECT RAISE(FAIL, 'database or disk is full')"
        connection.execute(f"CREATE TRIGGER full BEFORE INSERT ON checkpoints BEGIN {full}; END")
    with pytest.raises(SecateurError, match=rf"checkpoints.sqlite cannot be written .* secateur resume {run.id}"):
        work(run)


def _middle(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[4096 : len(data) // 2] = random.Random(0).randbytes(len(data) // 2 - 4096)
    file.write_bytes(data)


def _generation(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        for row, blob in connection.execute("SELECT rowid, checkpoint FROM checkpoints").fetchall():
            other = blob.replace(b"generation\x01", b"generation\x05")
            connection.execute("UPDATE checkpoints SET checkpoint = ? WHERE rowid = ?", (other, row))
        connection.commit()


def _in_the_way(file: Path) -> None:
    file.unlink()
    file.mkdir()


UNREADABLE: dict[str, Callable[[Path], object]] = {
    "cut": lambda file: os.truncate(file, file.stat().st_size // 2),
    "cut to less than a header": lambda file: os.truncate(file, 50),
    "zeros in the header": lambda file: file.write_bytes(bytes(100) + file.read_bytes()[100:]),
    "random bytes in the middle": _middle,
    "no database": lambda file: file.write_text("not a database, " * 1000),
    "a folder": _in_the_way,
    "another blob": sql(f"UPDATE checkpoints SET checkpoint = x'c1ff00' WHERE checkpoint_id = {LAST}"),
    "another kind of blob": sql(f"UPDATE checkpoints SET type = 'pickle' WHERE checkpoint_id = {LAST}"),
    "a list for a checkpoint": sql(f"UPDATE checkpoints SET checkpoint = x'90' WHERE checkpoint_id = {LAST}"),
    "metadata that are no JSON": sql(f"UPDATE checkpoints SET metadata = 'x' WHERE checkpoint_id = {LAST}"),
    "an older schema": sql("ALTER TABLE checkpoints DROP COLUMN metadata"),
}
OTHERWISE: dict[str, Callable[[Path], object]] = {
    "whole": lambda file: None,
    "empty": lambda file: file.write_bytes(b""),
    "missing": lambda file: file.unlink(),
    "a table is missing": sql("DROP TABLE checkpoints"),
    "all rows are missing": sql("DELETE FROM checkpoints", "DELETE FROM writes"),
    "the last rows are missing": sql(f"DELETE FROM checkpoints WHERE checkpoint_id = {LAST}"),
    "another generation": _generation,
}


@pytest.mark.parametrize("damage", [*UNREADABLE, *OTHERWISE])
def test_the_place_of_a_run_follows_from_its_journal_whatever_became_of_its_checkpoints(
    damage: str, late: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "checkpoints.sqlite"
    with closing(sqlite3.connect(late.checkpoints)) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)
    (UNREADABLE | OTHERWISE)[damage](path)
    config: Any = {"configurable": {"thread_id": late.id}}
    where: State = {"generation": 1, "enough": "the budget of 10 candidates is spent"}
    assert place(Context(Recorder(late), late.home, Builtin())) == where
    check(path, config)
    told = [record.getMessage() for record in caplog.records if record.name == "tools.io.shelf"]
    assert len(told) == (damage in UNREADABLE)
    assert (tmp_path / "checkpoints.sqlite.damaged").exists() == (damage in UNREADABLE)
    with closing(opened(path)) as connection:
        graph = build(SqliteSaver(connection))
        assert start(graph, config, where) == (None if damage == "whole" else where)


def test_what_is_damaged_late_in_a_run_is_made_anew_to_the_same_end(finished: Run, late: Run, tmp_path: Path) -> None:
    run = copied(late, tmp_path)
    run.checkpoints.write_text("not a database, " * 1000)
    cache = run.home / "cache"
    derived = [*cache.rglob("gram.*"), *cache.rglob("inputs.*"), *cache.glob("references/*")]
    assert len(derived) >= 2
    for file in derived:
        data = bytearray(file.read_bytes())
        data[-9] ^= 1
        file.write_bytes(data)
    lines = run.journal.path.read_bytes().splitlines(keepends=True)
    before = run.journal.read()
    proposed = next(i for i, line in enumerate(lines) if b'"candidate_proposed"' in line and b'"c-3"' in line)
    lines[proposed] = b"\xff" * 40 + b"\n"
    run.journal.path.write_bytes(b"".join([*lines, *lines[proposed - 2 : proposed + 5]]))
    work(run)
    events = run.journal.read()
    assert winner(run) == winner(finished)
    assert not measured_twice(run)
    assert [e for e in events if isinstance(e, CandidateMeasured)][
        : sum(isinstance(e, CandidateMeasured) for e in before)
    ]
    proposals = [e.candidate for e in events if isinstance(e, CandidateProposed)]
    expected = [e.candidate for e in finished.journal.read() if isinstance(e, CandidateProposed)]
    assert sorted(proposals, key=lambda c: c.id) == sorted(expected, key=lambda c: c.id)
    notes = [e.text for e in events if isinstance(e, Note)]
    assert sum("and made anew" in text for text in notes) >= 2
    assert any("checkpoints.sqlite was damaged (" in text for text in notes)
    assert sum("1 line cannot be read and what they said is lost" in text for text in notes) == 1


@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_lost_journal_says_so_and_nothing_is_removed(how: str, late: Run, tmp_path: Path) -> None:
    run = copied(late, tmp_path)
    run.journal.path.unlink()
    if how == "empty":
        run.journal.path.touch()
    says = rf"^run {run.id}: its journal is {how}, so what it measured is lost\. "
    for do in (work, carry_out, write, known):
        with pytest.raises(SecateurError, match=says):
            do(run)
    assert run.checkpoints.exists()
    assert how == "missing" or run.journal.path.read_bytes() == b""
