"""The final table says what a person needs, and `runs` shows it again from the journal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runs.events import FinalMeasured, SurveyDone
from runs.fold.history import History
from runs.fold.summary import summary
from runs.goal import Goal
from runs.report import render_card
from runs.run import Run, create
from tools.prune.reach import Reach
from tui.cli import run as command
from tui.text.comparison import comparison, results

REACH = Reach(weights=80, blocks=80, model=100)


@pytest.fixture
def finished(tmp_path: Path, new_story: Any) -> Run:
    """A run on disk with a whole story in its journal."""
    story = new_story()
    run = create(tmp_path, story.goal)
    story.run = run.id
    for event in story.whole().events:
        known = isinstance(event, SurveyDone)
        run.journal.append(event.model_copy(update={"reach": REACH}) if known else event)
    return run


def test_show_prints_the_table_and_what_was_checked(finished: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["runs", "show", finished.id, "--home", str(finished.folder.parents[1])]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == f"tiny → 50 % unstructured run {finished.id} finished"
    assert lines[2] == "dense 22.8 0.0 % 0.0 %"
    assert lines[3] == "wanda 50.9 50.0 % 40.0 %"
    assert lines[4] == "this run c-2 41.9 50.0 % 40.0 % sqr(W) * X, OBS"
    assert "model /models/out checked: reloads, logits equal" in lines


def test_json_of_a_run_is_what_prune_prints(finished: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["runs", "show", finished.id, "--json", "--home", str(finished.folder.parents[1])]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["perplexity"] == {"dense": 22.8, "result": 41.9, "references": {"wanda": 50.9}}
    assert (found["status"], found["metric"], found["sparsity"]) == ("finished", "sqr(W) * X", 0.5)


def test_compare_report_list_and_remove(finished: Run, new_story: Any, capsys: pytest.CaptureFixture[str]) -> None:
    home = finished.folder.parents[1]
    other = create(home, new_story().goal)
    other.journal.append(new_story(run=other.id).start().events[0])
    assert command(["runs", "compare", finished.id, other.id, "--home", str(home)]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert ("41.9" in rows[0], "-" in rows[1].split()) == (True, True)

    assert command(["runs", "report", finished.id, "--home", str(home)]) == 0
    assert all(Path(line).stat().st_size > 1000 for line in capsys.readouterr().out.splitlines())

    assert command(["runs", "remove", finished.id, "--home", str(home)]) == 2
    assert "say --yes" in capsys.readouterr().err
    assert command(["runs", "remove", finished.id, "--yes", "--home", str(home)]) == 0
    capsys.readouterr()
    assert command(["runs", "--home", str(home), "--json"]) == 0
    assert [(row["run"], row["status"]) for row in json.loads(capsys.readouterr().out)["runs"]] == [
        (other.id, "interrupted")
    ]


def test_perplexities_of_two_texts_do_not_stand_in_one_column(
    finished: Run, new_story: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    home = finished.folder.parents[1]
    other, alike = (create(home, new_story().goal) for _ in range(2))
    for run, text in ((other, "0ther"), (alike, "builtin/test")):
        for event in new_story(run=run.id).whole().events:
            if isinstance(event, FinalMeasured):
                protocol = event.measurement.protocol.model_copy(update={"text_sha256": text, "begin": "<bos>"})
                measurement = event.measurement.model_copy(update={"protocol": protocol})
                event = event.model_copy(update={"measurement": measurement})
            run.journal.append(event)
    assert command(["runs", "compare", finished.id, other.id, alike.id, "--home", str(home)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["run", finished.id, alike.id, "run", other.id]
    assert lines[3].endswith("perplexity on builtin/test: 4 windows of 512 tokens, each after <bos>")
    assert results(home, finished) == [(alike.id, 0.5, 41.9)]


def test_zeros_are_said_to_change_neither_size_nor_speed(finished: Run, new_story: Any) -> None:
    plain = summary(finished.history())
    said = "ame size and same speed: unstructured zeros alone make nothing faster."
    assert f"  s{said}" in comparison(plain, finished).splitlines()
    assert f"S{said} That takes a runtime" in render_card(plain, "")
    assert "restore" not in render_card(plain, "")

    goal = Goal(model="tiny", sparsity=0.5, compress=True, masks=True)
    packed = summary(History.of(new_story(goal=goal).whole().events))
    assert "  smaller on disk, same size and same speed once opened: uns" in comparison(packed, finished)
    card = render_card(packed, "")
    assert "\n\nSmaller on disk, same size and same speed once opened: unstructured zeros" in card
    assert "\n\nSaved packed: where" in card
    assert "\n\n`masks/masks.safetensors` says" in card
