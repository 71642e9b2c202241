"""Whole runs with a language model as the designer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.engine import work
from runs.events import Answered, Asked, CandidateMeasured, CandidateProposed
from runs.fold.summary import summary
from runs.goal import Budget
from runs.run import Run, Status, create, list_runs
from tests.agent.designers.scripted import KEY, TOOLS, WHY, goal, good, step
from tests.agent.loopback import Reply, call, serving
from tools.recipe import Structured
from tui.cli import run as cli


def _winner(run: Run) -> str:
    found = summary(run.history())
    assert found.recipe is not None
    assert found.winner is not None
    return f"{found.recipe.canonical()} {found.winner.perplexity!r}"


def test_a_whole_run_and_its_replay_without_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def moody(request: dict[str, Any], number: int) -> Reply:
        return Reply(status=503) if number % 5 == 0 else good(request, number)

    run = create(tmp_path / "home", goal(budget=Budget(candidates=11)))
    with serving(moody) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        work(run)
    assert run.status() is Status.FINISHED
    events = run.journal.read()
    assert any(e.candidate.designer == "openai:test" for e in events if isinstance(e, CandidateProposed))
    assert all(request["authorization"] == f"Bearer {KEY}" for request in server.requests)
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert cli(["runs", "replay", run.id, "--home", str(run.home)]) == 0
    replay = next(other for other in list_runs(run.home) if other.id != run.id)
    assert replay.goal.designer == f"replay:{run.journal.path}"
    assert _winner(replay) == _winner(run)

    def measured(of: Run) -> list[tuple[str, float]]:
        return [(e.recipe_id, e.measurement.value) for e in of.journal.read() if isinstance(e, CandidateMeasured)]

    assert measured(replay) == measured(run)
    for path in run.home.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


def test_a_model_designs_its_own_pruning_with_valid_calls_only(tmp_path: Path) -> None:
    """A model of one megabyte babbles; under the grammar every call is one of a known tool with valid arguments."""
    run = create(tmp_path, goal(designer="self", budget=Budget(candidates=10)))
    work(run)
    assert run.status() is Status.FINISHED
    events = run.journal.read()
    answers = [e for e in events if isinstance(e, Answered)]
    assert len(answers) > 3
    for answer in answers:
        assert not answer.problem
        (made,) = answer.calls
        assert made.name in TOOLS
        assert isinstance(json.loads(made.arguments), dict)
    told = [m.text for e in events if isinstance(e, Asked) for m in e.messages if m.role == "tool"]
    assert not [text for text in told if "not a valid tool" in text or "Error invoking tool" in text]


def test_a_designer_shapes_a_smaller_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def shaping(request: dict[str, Any], number: int) -> Reply:
        asked.append(str(request["messages"][0]["content"]))
        if step(request) == "reason":
            return call("finish", WHY)
        done = sum(message["role"] == "assistant" for message in request["messages"])
        block = {"rates": [{"unit": 2, "sparsity": 1.0}, {"unit": 3, "sparsity": 1.0}]}
        recipe = {
            "metric": "X_var * W",
            "allocation": "uniform",
            "width": 0.05,
            "granularity": "layer",
            "group": "row",
            "compensation": "least_squares",
        }
        replies = [
            call("propose_rates", {"base": "c-1", **block, **WHY}),
            call("propose_recipe", {"base": "c-1", **recipe, **WHY}),
            call("finish", WHY),
        ]
        return replies[min(done, 2)]

    pattern = Structured(kind="width+depth", multiple=16)
    run = create(tmp_path / "home", goal(pattern=pattern, sparsity=0.4, budget=Budget(candidates=10)))
    with serving(shaping) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        work(run)
    assert run.status() is Status.FINISHED
    assert "A rate of 1 takes" in asked[0]
    events = run.journal.read()
    theirs = [e.candidate for e in events if isinstance(e, CandidateProposed) and e.candidate.designer == "openai:test"]
    assert {c.recipe.pattern for c in theirs} == {pattern}
    assert {c.recipe.compensation.kind for c in theirs} == {"none", "least_squares"}
    first = next(c for c in theirs if c.recipe.allocation.vector is not None)
    measured = next(e for e in events if isinstance(e, CandidateMeasured) and e.candidate_id == first.id)
    assert measured.rates[1] == 1.0, "block 1 is gone"
    assert sum(rate == 1.0 for rate in measured.rates) == 1
