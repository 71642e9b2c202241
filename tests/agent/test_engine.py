"""A run from its goal to a saved model, and what happens when it is killed on the way."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from langgraph.checkpoint.sqlite import SqliteSaver

from agent.checkpoints import check, opened, start
from agent.context import Context, State
from agent.designers.builtin import Builtin
from agent.engine import work
from agent.graph import build
from agent.nodes.select import place
from agent.recorder import Recorder
from agent.session.start import carry_out
from runs.events import (
    CandidateMeasured,
    CandidateProposed,
    CandidateRejected,
    Continued,
    Event,
    Extended,
    FinalMeasured,
    Note,
    Recalled,
    RunFailed,
    RunFinished,
    Said,
    Saved,
    SpeedMeasured,
    Timed,
)
from runs.fold.history import History
from runs.fold.summary import summary
from runs.goal import Budget, Evaluation, Goal, Size, Workers
from runs.report import write
from runs.run import STOP, Run, Status, create, list_runs, open_run
from runs.workers.results import Result
from tools.io.errors import SecateurError
from tools.model.sparsity import overall
from tools.recipe import Calibration, Request, Structured, parse_pattern
from tui.app.panes.runs import known


def goal(**changes: object) -> Goal:
    """A search on the tiny sample that takes a few seconds."""
    part = Size(windows=4, length=64)
    fields: dict[str, object] = {
        "model": "tiny",
        "sparsity": 0.5,
        "calibration": Calibration(windows=8, length=64),
        "evaluation": Evaluation(search=part, selection=part, test=part),
        "budget": Budget(candidates=10),
    }
    return Goal.of(**(fields | changes))


def winner(run: Run) -> str:
    """The winner's recipe and its perplexity on the test text, as one string."""
    found = summary(run.history())
    assert found.recipe is not None
    assert found.winner is not None
    return f"{found.recipe.canonical()} {found.winner.perplexity!r}"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = create(tmp_path_factory.mktemp("home"), goal())
    work(run)
    return run


def test_a_search_ends_with_a_saved_model_that_is_as_asked(finished: Run) -> None:
    from tools.model.checkpoint import open_model
    from tools.model.sparsity import sparsities

    assert finished.status() is Status.FINISHED
    found = summary(finished.history())
    model = open_model(str(finished.model_folder), cache=finished.home / "cache")
    assert overall(model, sparsities(model)) == pytest.approx(0.5, abs=1e-3)
    assert found.winner is not None
    assert found.winner.sparsity == pytest.approx(0.5, abs=1e-3)
    assert {row.name for row in found.table} >= {"dense", "magnitude", "wanda", "sparsegpt"}
    assert (finished.model_folder / "README.md").read_text().count("|---") >= 1
    assert finished.report_html.exists()
    assert finished.recipe_file.exists()


def test_the_dense_model_and_the_result_write_on_side_by_side(finished: Run) -> None:
    found = summary(finished.history())
    assert len(found.sides) == 3
    for dense, ours in found.sides:
        assert dense.prompt == ours.prompt
        assert dense.prompt.strip()
        assert 1 <= ours.tokens <= 32
    assert [dense.text for dense, _ in found.sides] != [ours.text for _, ours in found.sides]
    assert found.sides[0][1].prompt.split()[0] in finished.report_md.read_text().split("## Side by side")[1]


def test_what_was_continued_is_not_again_and_a_model_that_cannot_is_said_so(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> None:
        raise SecateurError("the cache is odd")

    monkeypatch.setattr("agent.nodes.deliver.continuations", fail)
    before = len(finished.journal.read())
    kept, lost = _copied(finished, tmp_path / "kept"), _copied(finished, tmp_path / "lost")
    for run, gone in ((kept, ("run_finished",)), (lost, ("run_finished", "continued"))):
        lines = run.journal.path.read_bytes().splitlines(keepends=True)
        left = [line for line in lines if json.loads(line)["event"] not in gone]
        run.journal.path.write_bytes(b"".join(left))
        work(run)
        assert run.status() is Status.FINISHED
    assert before <= len(kept.journal.read())
    notes = [[e.text for e in run.journal.read() if isinstance(e, Note)] for run in (kept, lost)]
    said = "there is no text side by side: the cache is odd"
    assert [said in texts for texts in notes] == [False, True]
    assert [len(summary(run.history()).sides) for run in (kept, lost)] == [3, 0]


def test_pruning_the_tiny_model_hurts_and_the_winner_is_no_worse_than_wanda(finished: Run) -> None:
    rows = {row.name: row.perplexity for row in summary(finished.history()).table}
    assert rows["magnitude"] > rows["wanda"] > rows["dense"]
    found = summary(finished.history()).winner
    assert found is not None
    assert found.perplexity < rows["wanda"]


def test_the_budget_is_exact_and_each_line_of_the_table_is_measured_once(finished: Run) -> None:
    events = finished.journal.read()
    measured = {
        e.candidate_id for e in events if isinstance(e, CandidateMeasured) and e.measurement.kind == "divergence"
    }
    assert len(measured) == 10
    finals = Counter(e.name for e in events if isinstance(e, FinalMeasured))
    assert set(finals.values()) == {1}


def test_no_two_measured_candidates_are_one_recipe(finished: Run) -> None:
    events = finished.journal.read()
    rejected = {e.candidate_id for e in events if isinstance(e, CandidateRejected)}
    ids = [e.candidate.recipe.id for e in events if isinstance(e, CandidateProposed) and e.candidate.id not in rejected]
    assert len(ids) == len(set(ids))


def test_the_texts_of_search_selection_and_test_differ(finished: Run) -> None:
    texts = {
        e.measurement.protocol.text for e in finished.journal.read() if isinstance(e, CandidateMeasured | FinalMeasured)
    }
    assert texts == {"builtin/search", "builtin/selection", "builtin/test"}


def test_the_same_seed_gives_the_same_winner_and_memory_seeds_the_next_run(finished: Run, tmp_path: Path) -> None:
    again = create(tmp_path, goal())
    work(again)
    assert winner(again) == winner(finished)
    few = Budget(candidates=3)  # what is proposed is looked at, not what wins
    third = create(tmp_path, goal(seed=1, budget=few))
    work(third)
    recalled = [e for e in third.journal.read() if isinstance(e, Recalled)]
    assert len(recalled) == 1
    assert recalled[0].entries
    assert all(entry.id.startswith(again.id) for entry in recalled[0].entries)
    origins = [e.candidate.operator for e in third.journal.read() if isinstance(e, CandidateProposed)]
    assert "recall" in origins
    alone = create(tmp_path, goal(seed=1, recall=False, budget=few))
    work(alone)
    events = alone.journal.read()
    assert [e.entries for e in events if isinstance(e, Recalled)] == [()]
    assert "recall" not in [e.candidate.operator for e in events if isinstance(e, CandidateProposed)]


@pytest.mark.parametrize("method", ["magnitude", "gblm", "wanda_pp", "owl"])
def test_a_named_method_is_applied_without_a_search(method: str, tmp_path: Path) -> None:
    run = create(tmp_path, goal(method=method))
    work(run)
    found = summary(run.history())
    assert not found.trials
    assert found.winner is not None
    assert found.winner.sparsity == pytest.approx(0.5, abs=1e-3)


def test_two_of_four_is_exact_in_every_group(tmp_path: Path) -> None:
    from tools.model.architecture import weight
    from tools.model.checkpoint import open_model

    run = create(tmp_path, goal(pattern=parse_pattern("2:4"), budget=Budget(candidates=5)))
    work(run)
    model = open_model(str(run.model_folder), cache=tmp_path / "cache")
    for p in model.architecture.projections:
        kept = (weight(model.network, p) != 0).reshape(p.out_features, -1, 4).sum(-1)
        assert int(kept.max()) <= 2
        assert float((kept == 2).float().mean()) > 0.99  # a kept weight may happen to be zero in the dense model


def test_a_failure_is_one_line_in_the_journal_and_the_run_can_go_on(tmp_path: Path) -> None:
    run = create(tmp_path, goal(test_text=str(tmp_path / "later.txt")))
    with pytest.raises(SecateurError, match=r"later\.txt"):
        work(run)
    assert run.status() is Status.FAILED
    assert isinstance(run.journal.read()[-1], RunFailed)
    (tmp_path / "later.txt").write_text("We the people of the United States. " * 400)
    work(run)
    assert run.status() is Status.FINISHED


def test_checkpoints_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    run = create(tmp_path, goal(method="magnitude"))
    run.journal.append(Note(text="it had begun"))
    with closing(opened(run.checkpoints)) as connection:
        SqliteSaver(connection).setup()
        full = "SELECT RAISE(FAIL, 'database or disk is full')"
        connection.execute(f"CREATE TRIGGER full BEFORE INSERT ON checkpoints BEGIN {full}; END")
    with pytest.raises(SecateurError, match=rf"checkpoints.sqlite cannot be written .* secateur resume {run.id}"):
        work(run)


@pytest.fixture(scope="module")
def late(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`finished` as it was when its first finalist was measured."""
    run = _copied(finished, tmp_path_factory.mktemp("late"))
    lines = run.journal.path.read_bytes().splitlines(keepends=True)
    kinds = [getattr(getattr(event, "measurement", None), "kind", "") for event in run.journal.read()]
    assert len(kinds) == len(lines)
    run.journal.path.write_bytes(b"".join(lines[: kinds.index("perplexity") + 1]))
    _sql(*(f"DELETE FROM {table} WHERE checkpoint_id = {LAST}" for table in ("checkpoints", "writes")))(run.checkpoints)
    for file in (run.recipe_file, run.report_html, run.report_md):
        file.unlink()
    shutil.rmtree(run.model_folder)
    shutil.rmtree(run.home / "memory")
    return run


def _copied(run: Run, to: Path) -> Run:
    shutil.copytree(run.home, to / "home")
    return open_run(to / "home", run.id)


def _sql(*statements: str) -> Callable[[Path], None]:
    def do(file: Path) -> None:
        with closing(sqlite3.connect(file)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    return do


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


LAST = "(SELECT max(checkpoint_id) FROM checkpoints)"
UNREADABLE: dict[str, Callable[[Path], object]] = {
    "cut": lambda file: os.truncate(file, file.stat().st_size // 2),
    "cut to less than a header": lambda file: os.truncate(file, 50),
    "zeros in the header": lambda file: file.write_bytes(bytes(100) + file.read_bytes()[100:]),
    "random bytes in the middle": _middle,
    "no database": lambda file: file.write_text("not a database, " * 1000),
    "a folder": _in_the_way,
    "another blob": _sql(f"UPDATE checkpoints SET checkpoint = x'c1ff00' WHERE checkpoint_id = {LAST}"),
    "another kind of blob": _sql(f"UPDATE checkpoints SET type = 'pickle' WHERE checkpoint_id = {LAST}"),
    "a list for a checkpoint": _sql(f"UPDATE checkpoints SET checkpoint = x'90' WHERE checkpoint_id = {LAST}"),
    "metadata that are no JSON": _sql(f"UPDATE checkpoints SET metadata = 'x' WHERE checkpoint_id = {LAST}"),
    "an older schema": _sql("ALTER TABLE checkpoints DROP COLUMN metadata"),
}
OTHERWISE: dict[str, Callable[[Path], object]] = {
    "whole": lambda file: None,
    "empty": lambda file: file.write_bytes(b""),
    "missing": lambda file: file.unlink(),
    "a table is missing": _sql("DROP TABLE checkpoints"),
    "all rows are missing": _sql("DELETE FROM checkpoints", "DELETE FROM writes"),
    "the last rows are missing": _sql(f"DELETE FROM checkpoints WHERE checkpoint_id = {LAST}"),
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
    run = _copied(late, tmp_path)
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
    assert not _measured_twice(run)
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
    run = _copied(late, tmp_path)
    run.journal.path.unlink()
    if how == "empty":
        run.journal.path.touch()
    says = rf"^run {run.id}: its journal is {how}, so what it measured is lost\. "
    for do in (work, carry_out, write, known):
        with pytest.raises(SecateurError, match=says):
            do(run)
    assert run.checkpoints.exists()
    assert how == "missing" or run.journal.path.read_bytes() == b""


def _scaled(file: Path, factor: float, only: str = "") -> None:
    """Multiply all matrices of a safetensors file, or the one of that name."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(file)
    chosen = [name for name, tensor in tensors.items() if tensor.dim() > 1 and only in ("", name)]
    save_file(tensors | {name: tensors[name] * factor for name in chosen}, file, {"format": "pt"})


def _replaced(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


MATRIX = "model.layers.1.mlp.up_proj.weight"
CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "one matrix": (lambda at: _scaled(at / "model/model.safetensors", 1.5, MATRIX), r"model is not .* \(weights\)"),
    "all matrices": (lambda at: _scaled(at / "model/model.safetensors", 1.5), r"model is not .* \(weights\)"),
    "config.json": (
        lambda at: _replaced(at / "model/config.json", '"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-02'),
        r"model is not .* \(configuration\)",
    ),
    "weights and config.json": (
        lambda at: (
            _scaled(at / "model/model.safetensors", 1.5),
            _replaced(at / "model/config.json", '"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-02'),
        )[0],
        r"model is not .* \(weights, configuration\)",
    ),
    "the tokenizer": (
        lambda at: _replaced(at / "model/tokenizer_config.json", "{", '{"add_prefix_space": true,'),
        r"model is not .* \(tokenizer\)",
    ),
    "the calibration text": (
        lambda at: _replaced(at / "cal.txt", "the", "any"),
        r"the text is not .* \(calibration: cal.txt \(first 80 %\)\)",
    ),
    "the text of the search": (
        lambda at: (at / "cal.txt").write_text((at / "cal.txt").read_text().replace("last", "late")) and None,
        r"the text is not .* \(search, selection: cal.txt \(80 to 90 %\), cal.txt \(last 10 %\)\)",
    ),
    "the test text": (lambda at: _replaced(at / "test.txt", "of", "to"), r"the text is not .* \(test: test.txt\)"),
    "the goal": (
        lambda at: _replaced(next(at.glob("home/runs/*/goal.json")), '"sparsity": 0.5', '"sparsity": 0.4'),
        r"goal.json is not what it began with \(sparsity\)",
    ),
}


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model, texts and a home whose run was interrupted when two candidates were measured."""
    from tools.model.sample import TINY

    at = tmp_path_factory.mktemp("begun")
    shutil.copytree(TINY, at / "model")
    (at / "cal.txt").write_text("We begin with the first of many lines. " * 300 + "These are the last of them. " * 300)
    (at / "test.txt").write_text("Ask not what others may do of it. " * 300)
    wanted = goal(
        model=str(at / "model"),
        calibration=Calibration(source=str(at / "cal.txt"), windows=4, length=64),
        test_text=str(at / "test.txt"),
    )
    run = create(at / "home", wanted)
    measured = []

    def listen(event: Event) -> None:
        measured.extend([event] if isinstance(event, CandidateMeasured) else [])
        if len(measured) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(run, listen=listen)
    return at


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_is_not_resumed_on_what_it_did_not_begin_with(change: str, interrupted: Path, tmp_path: Path) -> None:
    do, says = CHANGES[change]
    kept = tmp_path / "kept"
    shutil.copytree(interrupted, kept)
    do(interrupted)
    try:
        [run] = list_runs(interrupted / "home")
        before = run.journal.read()
        with pytest.raises(SecateurError, match=rf"^run {run.id}: .*{says}, so what .* or start a new run\.(\n|$)"):
            work(run)
        more = run.journal.read()[len(before) :]
        assert not any(isinstance(event, CandidateMeasured | FinalMeasured) for event in more)
    finally:
        shutil.rmtree(interrupted)
        shutil.copytree(kept, interrupted)


WORKER = """
import pathlib, sys
from agent.engine import work
from runs.run import Run
work(Run(pathlib.Path(sys.argv[1])))
"""


def _in_child(run: Run) -> subprocess.Popen[bytes]:
    """Work on the run in a process of its own."""
    root = Path(__file__).parents[2]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": str(root)}
    return subprocess.Popen([sys.executable, "-c", WORKER, str(run.folder)], env=environment, stderr=subprocess.DEVNULL)


def _measured_twice(run: Run) -> list[tuple[str, str, int]]:
    done = Counter(
        (e.candidate_id, e.measurement.kind, e.measurement.tokens)
        for e in run.journal.read()
        if isinstance(e, CandidateMeasured)
    )
    return [key for key, count in done.items() if count > 1]


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments_ends_as_one_that_was_not(kills: int, finished: Run, tmp_path: Path) -> None:
    """SIGKILL after a random number of journal lines and a random moment more; then it is resumed, killed again, ..."""
    rng = random.Random(7)
    lines = len(finished.journal.read())
    run = create(tmp_path, goal())
    for moment in sorted(rng.sample(range(2, lines - 2), kills)):
        child = _in_child(run)
        while len(run.journal.read()) < moment and child.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.random() * 0.1)
        assert child.poll() is None, "the run ended before it could be killed"
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert run.status() in (Status.INTERRUPTED, Status.NEW)
    assert _in_child(run).wait() == 0
    assert winner(run) == winner(finished)
    assert not _measured_twice(run)
    assert sum(isinstance(e, RunFinished) for e in run.journal.read()) == 1
    assert sum(isinstance(e, Saved) for e in run.journal.read()) == 1
    assert sum(isinstance(e, Continued) for e in run.journal.read()) == 2


def test_a_finished_run_can_be_extended(finished: Run, tmp_path: Path) -> None:
    shutil.copytree(finished.home, tmp_path / "home")
    run = open_run(tmp_path / "home", finished.id)
    run.journal.append(Extended(candidates=3))
    assert run.status() is Status.INTERRUPTED
    work(run)
    events = run.journal.read()
    assert run.status(History.of(events)) is Status.FINISHED
    measured = [(e.candidate_id, e.measurement.tokens) for e in events if isinstance(e, CandidateMeasured)]
    assert len(measured) == len(set(measured))
    charged = {
        e.candidate_id for e in events if isinstance(e, CandidateMeasured) and e.measurement.kind == "divergence"
    }
    assert len(charged) == 13
    extended = events.index(next(e for e in events if isinstance(e, Extended)))
    late = {e.candidate.id for e in events[extended:] if isinstance(e, CandidateProposed)}
    before = {e.candidate.id for e in events[:extended] if isinstance(e, CandidateProposed)}
    assert not late & before
    assert len(late & charged) == 3
    assert sum(isinstance(e, FinalMeasured) and e.name == "dense" for e in events) == 1
    assert sum(isinstance(e, Saved) for e in events) == 2
    continued = [e.name for e in events if isinstance(e, Continued)]
    assert len(continued) == len(set(continued))
    found = summary(History.of(events))
    assert [row.name for row in found.table if row.role == "reference"] == ["sparsegpt", "magnitude", "wanda"]
    assert found.winner is not None


def test_what_was_timed_before_more_was_asked_for_is_timed_again() -> None:
    timed = SpeedMeasured(request=Request(), dense_seconds=2.0, seconds=1.0, hardware="", threads=1)
    history = History()
    history.observe(timed)
    assert history.speed == timed
    history.observe(Extended(minutes=1))
    assert history.speed is None


def test_a_run_counts_with_the_times_that_it_began_with(tmp_path: Path) -> None:
    """Times are never the same twice: taken again, a recipe of before would come to other shapes."""
    pattern = Structured(kind="width", request=Request(batch=1, prompt=8, new=2))
    run = create(tmp_path, goal(pattern=pattern, sparsity=0.25))
    known = Timed(request=pattern.request, attention={1: 1.0, 2: 2.0}, mlp={64: 1.0, 256: 3.0}, whole=9.0)
    run.journal.append(known)
    found = Context(Recorder(run), tmp_path, Builtin()).bench.seconds(known.request)
    assert found.model_dump() == known.model_dump(exclude={"at", "event"})


def test_a_stop_holds_until_more_is_asked_for(tmp_path: Path) -> None:
    run = create(tmp_path, goal())
    for said, stopped in ((Said(text="stop using OBS"), False), (Said(text=STOP), True), (Extended(minutes=1), False)):
        run.journal.append(said)
        assert Recorder(run).said_stop is stopped


def test_a_search_without_any_fitting_seed_says_why(tmp_path: Path) -> None:
    run = create(tmp_path, goal(pattern=parse_pattern("3:7"), sparsity=4 / 7))
    with pytest.raises(SecateurError, match=r"no candidate could be measured: .*multiple of 7"):
        work(run)


class Watch:
    """Looks at the results of a run's workers as they are written, and kills the newest writer once."""

    def __init__(self, run: Run, kill_after: int) -> None:
        self._folder = run.results
        self._kill_after = kill_after
        self.writes: dict[str, set[tuple[int, int]]] = {}
        """File -> inode and time of every version that was seen."""
        self.pids: set[int] = set()
        self.killed = 0

    def look(self) -> None:
        """Look once."""
        newest = 0
        for file in self._folder.glob("*.json"):
            status = file.stat()
            versions = self.writes.setdefault(f"{file.name.split('.')[0]}.json", set())  # without its checksum
            if (status.st_ino, status.st_mtime_ns) not in versions:
                versions.add((status.st_ino, status.st_mtime_ns))
                newest = Result.model_validate_json(file.read_bytes()).pid
                self.pids.add(newest)
        if newest and not self.killed and len(self.writes) >= self._kill_after:
            os.kill(newest, signal.SIGKILL)
            self.killed = newest

    def until(self, over: Callable[[], bool]) -> None:
        """Keep looking, and look once more when it is over."""
        while not over():
            self.look()
            time.sleep(0.002)
        self.look()


def _same_as(finished: Run, run: Run, watch: Watch) -> None:
    """The run ended as the one in one process did, and every one of its numbers was measured once."""
    assert run.status() is Status.FINISHED
    assert winner(run) == winner(finished)
    assert not _measured_twice(run)
    found = [e for e in run.journal.read() if isinstance(e, CandidateMeasured) and e.measurement.kind == "divergence"]
    assert watch.writes.keys() == {f"{e.recipe_id}-{e.measurement.tokens}.json" for e in found}
    assert {len(versions) for versions in watch.writes.values()} == {1}


def _alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_ray_worker_is_killed_and_the_run_ends_as_in_one_process(finished: Run, tmp_path: Path) -> None:
    run = create(tmp_path, goal(workers=Workers(executor="ray", count=2)))
    watch, over = Watch(run, kill_after=2), threading.Event()
    eye = threading.Thread(target=watch.until, args=(over.is_set,))
    eye.start()
    try:
        work(run)
    finally:
        over.set()
        eye.join()
    assert watch.killed
    _same_as(finished, run, watch)
    assert not any(map(_alive, watch.pids))


def test_processes_and_then_their_engine_are_killed_and_nothing_is_lost(finished: Run, tmp_path: Path) -> None:
    run = create(tmp_path, goal(workers=Workers(executor="processes", count=2)))
    watch = Watch(run, kill_after=2)
    child = _in_child(run)
    watch.until(lambda: len(watch.writes) >= 5 or child.poll() is not None)
    assert child.poll() is None, "the run ended before it could be killed"
    assert watch.killed
    child.kill()
    child.wait()
    deadline = time.monotonic() + 60
    watch.until(lambda: not any(map(_alive, watch.pids)) or time.monotonic() > deadline)
    assert not any(map(_alive, watch.pids)), "a worker outlived its engine"
    assert run.status() is Status.INTERRUPTED
    work(run)
    watch.look()
    _same_as(finished, run, watch)


def test_the_journal_is_json_lines(finished: Run) -> None:
    for line in (finished.folder / "journal.jsonl").read_text().splitlines():
        assert "event" in json.loads(line)
