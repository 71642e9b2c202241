"""A run that is steered while it works: what is measured after the words, and what wins, obeys them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.context import Context
from agent.designers.builtin import Builtin
from agent.engine import work
from agent.recorder import Recorder
from agent.steering.obedience import Obedience
from agent.steering.rules import Steering
from runs.events import CandidateMeasured, CandidateProposed, Event, Heeded, Note, RunFinished
from runs.goal import Budget, Evaluation, Goal, Size
from runs.run import Run, Status, create
from tests.agent import searches
from tools.recipe import Allocation, Calibration, Compensation, Recipe, Structured, parse_pattern


def goal(**changes: object) -> Goal:
    part = Size(windows=4, length=64)
    own: dict[str, object] = {
        "calibration": Calibration(windows=4, length=64),
        "evaluation": Evaluation(search=part, selection=part, test=part, finalists=1),
        "budget": Budget(candidates=14),
        "recall": False,
    }
    return searches.goal(**(own | changes))


def steered(home: Path, after: dict[int, tuple[str, ...]], **changes: object) -> Run:
    """A whole run; after so many measurements these words are said."""
    run, count = create(home, goal(**changes)), 0

    def listen(event: Event) -> None:
        nonlocal count
        if isinstance(event, CandidateMeasured) and event.measurement.kind == "divergence":
            count += 1
            for words in after.get(count, ()):
                run.say(words)

    work(run, listen=listen)
    assert run.status() is Status.FINISHED
    return run


def test_words_that_all_seeds_fall_to_have_others_proposed(tmp_path: Path) -> None:
    """Said once the seeds stand and before the first is measured; a run that ended there would have done nothing."""
    run, said = create(tmp_path, goal(budget=Budget(candidates=9))), False

    def listen(event: Event) -> None:
        nonlocal said
        if isinstance(event, CandidateProposed) and not said:
            said = True
            run.say("spare block 0")

    work(run, listen=listen)
    history = run.history()
    first, second = history.generation(0), history.generation(1)
    assert {history.rejected[c.id] for c in first} == {"the person said: spare block 0"}
    assert {c.operator for c in second} == {"seed"}
    assert all(history.rates[c.id][0] < 1e-6 for c in second if c.id in history.divergences)
    assert history.generation(2)
    assert history.winner is not None


@pytest.fixture(scope="module")
def obedient(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return steered(tmp_path_factory.mktemp("home"), {1: ("no OBS, and spare block 0",), 12: ("at most 12 candidates",)})


def test_nothing_is_measured_after_the_words_that_breaks_them(obedient: Run) -> None:
    events = obedient.read()
    heard = next(i for i, event in enumerate(events) if isinstance(event, Heeded))
    told = events[heard]
    assert isinstance(told, Heeded)
    assert told.text == "read before c-2: block 0 stays whole from here on; no OBS from here on"
    history = obedient.history()
    after = [e.candidate_id for e in events[heard:] if isinstance(e, CandidateMeasured)]
    recipes = [history.candidates[name].recipe for name in after]
    assert len(recipes) > 3
    assert {recipe.compensation.kind for recipe in recipes} == {"none"}
    assert all(history.rates[name][0] < 1e-6 for name in after if name in history.rates)
    assert history.rejected["c-2"] == "the person said: no OBS"
    bred = [c for c in history.candidates.values() if c.generation]
    assert bred
    assert not [c for c in bred if history.rejected.get(c.id, "").startswith("the person said")]


def test_the_winner_obeys_and_says_so(obedient: Run) -> None:
    history = obedient.history()
    assert history.winner is not None
    final = history.finals[history.winner]
    assert final.recipe is not None
    assert final.recipe.compensation.kind == "none"
    assert {share for name, share in final.sparsities.items() if ".0." in name} == {0.0}
    assert final.measurement.sparsity == pytest.approx(0.5, abs=1e-3)
    assert any(
        note.startswith("finalists obey what the person said (no OBS, block 0 spared)") for note in history.notes
    )


def test_a_limit_that_is_said_is_kept(obedient: Run) -> None:
    history = obedient.history()
    assert history.ledger.budget.candidates == 12
    assert len(history.ledger.charged) == 12


def test_a_run_that_is_resumed_heeds_the_same(obedient: Run, tmp_path: Path) -> None:
    lines = obedient.journal.path.read_bytes().splitlines(keepends=True)
    proposed = [
        i for i, line in enumerate(lines) if b'"event":"candidate_proposed"' in line and b'"generation":1' in line
    ]
    run = create(tmp_path, obedient.goal)
    run.journal.path.write_bytes(b"".join(lines[: proposed[2]]))  # killed while the second generation was proposed
    run.inbox.path.write_bytes(obedient.inbox.path.read_bytes().splitlines(keepends=True)[0])
    work(run)
    before, again = obedient.history(), run.history()
    first = [c for c in before.candidates.values() if c.generation <= 1]
    assert [again.candidates[c.id] for c in first] == first


@pytest.mark.parametrize("designer", ["random", "evolution"])
def test_rules_hold_under_every_designer_without_a_language_model(designer: str, tmp_path: Path) -> None:
    said = {1: ("no OBS, and spare block 0",)}
    run = steered(tmp_path, said, designer=designer, budget=Budget(candidates=8))
    events, history = run.read(), run.history()
    heard = next(i for i, event in enumerate(events) if isinstance(event, Heeded))
    after = {e.candidate_id for e in events[heard:] if isinstance(e, CandidateMeasured)}
    assert len(after & history.candidates.keys()) > 3
    assert {history.candidates[name].recipe.compensation.kind for name in after & history.candidates.keys()} == {"none"}
    assert all(history.rates[name][0] < 1e-6 for name in after if name in history.rates)
    final = history.finals[str(history.winner)]
    assert {share for name, share in final.sparsities.items() if ".0." in name} == {0.0}


def test_a_stop_ends_the_search_before_anything_else_is_measured(tmp_path: Path) -> None:
    run = steered(tmp_path, {2: ("stop after this one",)})
    events = run.read()
    measured = [e for e in events if isinstance(e, CandidateMeasured) and e.measurement.kind == "divergence"]
    assert len(measured) == 2
    assert not [
        e
        for e in events
        if isinstance(e, CandidateProposed) and e.candidate.operator not in ("seed", "add compensation")
    ]
    assert isinstance(events[-1], RunFinished)
    assert any(
        isinstance(e, Note) and e.text.endswith("the search ends, and concludes with the best so far") for e in events
    )


def test_where_no_candidate_obeys_the_best_is_made_to(tmp_path: Path) -> None:
    run = steered(tmp_path, {2: ("spare block 0", "stop")})
    history = run.history()
    assert history.winner is not None
    assert history.candidates[history.winner].operator == "obey"
    final = history.finals[history.winner]
    assert {share for name, share in final.sparsities.items() if ".0." in name} == {0.0}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Any:
    run = create(tmp_path_factory.mktemp("home"), goal())
    return Context(Recorder(run), run.home, Builtin()).bench


WANDA = Recipe(sparsity=0.5, metric="W * X", calibration=Calibration(windows=4, length=64))


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({"compensation": Compensation(kind="obs")}, Steering(barred=frozenset({"obs"}))),
        ({"metric": "W * log(G)"}, Steering(avoided=frozenset({"log"}))),
        ({"allocation": Allocation(expression="-depth", width=0.1)}, Steering(uniform=True)),
        ({"allocation": Allocation(expression="-depth", width=0.1)}, Steering(spared=frozenset({0}))),
        (
            {"allocation": Allocation(expression="depth", width=0.2, granularity="projection")},
            Steering(spared=frozenset({3})),
        ),
        (
            {
                "pattern": parse_pattern("width+depth/free"),
                "sparsity": 0.3,
                "allocation": Allocation(expression="-depth", width=0.2, granularity="layer"),
            },
            Steering(kind="depth", spared=frozenset({0})),
        ),
        (
            {
                "pattern": Structured(kind="depth"),
                "sparsity": 0.25,
                "allocation": Allocation(expression="depth", width=0.1),
            },
            Steering(spared=frozenset({0})),
        ),
    ],
)
def test_a_recipe_is_changed_as_little_as_obeys(changes: dict[str, object], rules: Steering, bench: Any) -> None:
    recipe = Recipe.model_validate(WANDA.model_copy(update=changes).model_dump())
    obedience = Obedience(rules, bench)
    assert obedience.objection(recipe) is not None
    amended = obedience.amended(recipe)
    assert obedience.objection(amended) is None
    assert obedience.amended(amended) == amended
    assert bench.prepare(amended).share == pytest.approx(bench.prepare(recipe).share, abs=0.08)
