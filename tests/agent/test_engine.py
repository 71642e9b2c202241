"""A run from its goal to a saved model."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from agent.context import Context
from agent.designers.builtin import Builtin
from agent.engine import work
from agent.recorder import Recorder
from runs.events import (
    CandidateMeasured,
    CandidateProposed,
    CandidateRejected,
    Continued,
    Extended,
    FinalMeasured,
    Note,
    Recalled,
    RunFailed,
    RunStarted,
    Said,
    Saved,
    SpeedMeasured,
    Timed,
)
from runs.fold.history import History
from runs.fold.summary import summary
from runs.goal import Budget
from runs.run import STOP, Run, Status, create, open_run
from tests.agent.searches import copied, goal, winner
from tools.io.errors import SecateurError
from tools.model.sparsity import overall
from tools.recipe import Request, Structured, parse_pattern


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
    kept, lost = copied(finished, tmp_path / "kept"), copied(finished, tmp_path / "lost")
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
    run = create(tmp_path, goal(test_text=str(tmp_path / "later.txt"), method="wanda"))
    with pytest.raises(SecateurError, match=r"later\.txt"):
        work(run)
    assert run.status() is Status.FAILED
    assert isinstance(run.journal.read()[-1], RunFailed)
    (tmp_path / "later.txt").write_text("We the people of the United States. " * 400)
    work(run)
    assert run.status() is Status.FINISHED


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
    run.journal.append(RunStarted(run=run.id, goal=run.goal, versions={}, host="", pid=1))
    for said, stopped in ((Said(text="stop using OBS"), False), (Said(text=STOP), True), (Extended(minutes=1), False)):
        run.journal.append(said)
        assert Recorder(run).said_stop is stopped


def test_a_search_without_any_fitting_seed_says_why(tmp_path: Path) -> None:
    run = create(tmp_path, goal(pattern=parse_pattern("3:7"), sparsity=4 / 7))
    with pytest.raises(SecateurError, match=r"no candidate could be measured: .*multiple of 7"):
        work(run)


def test_the_journal_is_json_lines(finished: Run) -> None:
    for line in (finished.folder / "journal.jsonl").read_text().splitlines():
        assert "event" in json.loads(line)
