"""Where experts fall, the published methods are all there is to compare."""

from __future__ import annotations

from pathlib import Path
from random import Random

from agent.designers.builtin import Builtin
from agent.designers.choose import designer
from agent.kinds import parent_of
from agent.recorder import Recorder
from agent.signatures import Signatures
from agent.situation import Situation, pool_of
from agent.steering.obedience import obedience
from runs.candidate import Candidate, PastCandidate
from runs.fold.history import History
from runs.goal import Goal
from runs.run import create
from tests.tools.conftest import random_windows
from tests.tools.mixtures import mixture
from tools.prune.bench import Bench
from tools.recipe import Compensation, Experts, Recipe, Structured
from tools.recipe.methods import method


def test_seeds_are_the_methods_and_nothing_is_bred_from_them() -> None:
    windows = random_windows(4, 32)
    bench = Bench(mixture("qwen3_moe"), windows, windows)
    goal = Goal(model="qwen3_moe", sparsity=0.5, pattern=Experts())
    here = Situation(
        goal,
        0,
        History(),
        bench,
        [],
        [],
        pool_of(goal),
        Random(0),
        Signatures(bench),
        obedience(bench, goal, History()),
    )
    seeds = [child.recipe for child in Builtin().seeds(here)]
    assert seeds == [method("frequency", 0.5), method("reap", 0.5)]
    screen = Signatures(bench).screen([Candidate(id="c-1", recipe=seeds[0], operator="seed")])
    assert screen.objection(seeds[1]) is None
    assert (
        screen.objection(seeds[0].model_copy(update={"metric": "3 * frequency"})) == "chooses the same weights as c-1"
    )
    wrong = Recipe(pattern=Experts(), sparsity=0.7, metric="reap")
    assert "every token goes through 3 of 6 experts" in (screen.objection(wrong) or "")
    parents = [parent_of(Candidate(id="c-1", recipe=seeds[0], operator="seed"), bench, seeds[0].pattern)]
    later = Situation(
        goal,
        1,
        History(),
        bench,
        parents,
        [],
        pool_of(goal),
        Random(0),
        Signatures(bench),
        obedience(bench, goal, History()),
    )
    assert Builtin().propose(later, lambda child: True, 4) == []


def test_what_is_remembered_of_structures_is_no_seed_for_weights() -> None:
    windows = random_windows(4, 32)
    bench = Bench(mixture("mixtral"), windows, windows)
    goal = Goal(model="mixtral", sparsity=0.5)
    past = PastCandidate(id="m", model="mixtral", recipe=method("reap", 0.5), similarity=1.0, relative=None)
    kinds = []
    width = Recipe(
        pattern=Structured(kind="width"), sparsity=0.5, metric="W", compensation=Compensation(kind="least_squares")
    )
    of = {name: past.model_copy(update={"recipe": r}) for name, r in (("width", width), ("ria", method("ria", 0.5)))}
    for recalled in ([], [past], [of["width"]], [of["width"], of["ria"]]):
        here = Situation(
            goal,
            0,
            History(),
            bench,
            [],
            recalled,
            pool_of(goal),
            Random(0),
            Signatures(bench),
            obedience(bench, goal, History()),
        )
        kinds.append([child.operator for child in Builtin().seeds(here)].count("recall"))
    assert kinds == [0, 0, 0, 1]


def test_a_designer_that_could_design_nothing_is_not_asked(tmp_path: Path) -> None:
    made = create(tmp_path, Goal(model="tiny", sparsity=0.5, pattern=Experts(), designer="random"))
    record = Recorder(made)
    assert type(designer(made.goal, record, tmp_path)) is Builtin
    said = record.history.notes
    assert said == ["random is not asked: for experts the published methods are compared"]
