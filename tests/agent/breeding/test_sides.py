"""Breeding of what falls on two sides: the split between experts and width is what moves."""

from __future__ import annotations

from random import Random

import pytest

from agent.breeding.genes import Parent, Pool, breed
from agent.breeding.shapes import allocation_of
from agent.breeding.sides import METRICS, SHIFTS, choose_otherwise, shift
from agent.designer_tools.proposals.split import TOOL, divided
from agent.designers.builtin import Builtin
from agent.designers.evolution import Evolution
from agent.designers.random import RandomSearch
from agent.kinds import parent_of
from agent.prompts.prompt import opening
from agent.signatures import Signatures
from agent.situation import Situation, pool_of
from agent.steering.obedience import Obedience, obedience
from agent.steering.rules import Ground, Steering
from agent.steering.words import heard
from runs.candidate import Candidate, PastCandidate
from runs.fold.history import History
from runs.goal import Goal
from tests.tools.conftest import random_windows
from tests.tools.mixtures import mixture
from tools.io.errors import UsageError
from tools.prune.bench import Bench
from tools.prune.experts_and_width.pattern import ExpertsAndWidth
from tools.recipe import Experts, Recipe
from tools.recipe.methods import method

PATTERN = ExpertsAndWidth(multiple=4)
GOAL = Goal(model="qwen3_moe", sparsity=0.25, pattern=PATTERN)
POOL = Pool(frozenset({"W", "X", "X_var"}), compensation=True)
LAYERS = tuple((block, sublayer, size) for block in range(4) for sublayer, size in (("attention", 100), ("mlp", 300)))


@pytest.fixture(scope="module")
def bench() -> Bench:
    windows = random_windows(4, 32)
    return Bench(mixture("qwen3_moe"), windows, windows)


def situation(bench: Bench, **changes: object) -> Situation:
    fields: dict[str, object] = {"population": [], "recalled": [], "generation": 0}
    fields |= {"goal": GOAL, "history": History(), "bench": bench, "pool": pool_of(GOAL), "rng": Random(0)}
    fields |= {"signatures": Signatures(bench), "obedience": obedience(bench, GOAL, History())}
    return Situation(**(fields | changes))  # type: ignore[arg-type]


def made(name: str, **changes: object) -> Parent:
    pattern, rates = PATTERN.model_copy(update=changes), (0.2, 0.4) * 4
    recipe = Recipe(pattern=pattern, sparsity=0.3, metric="W * X", allocation=allocation_of(rates))
    return Parent(name, recipe, rates, LAYERS)


def test_children_keep_both_sides_within_bounds_and_reach_both_ends() -> None:
    rng, parents, shares, choices = Random(0), [made("c-1"), made("c-2", share=0.25)], set(), set()
    for _ in range(200):
        child = breed(rng.choice(parents), parents[1], POOL, rng, [*SHIFTS, *METRICS])
        if child is None:
            continue
        pattern = child.recipe.pattern
        assert isinstance(pattern, ExpertsAndWidth)
        assert pattern.multiple == 4
        assert Recipe.model_validate(child.recipe.model_dump()) == child.recipe
        shares.add(pattern.share)
        choices.add(pattern.by)
        parents.append(Parent("c-3", child.recipe, child.recipe.allocation.vector or (0.3,) * 8, LAYERS))
    assert min(shares) == 0.0
    assert max(shares) == 1.0
    assert choices == {"reap", "frequency"}


def test_a_side_of_which_nothing_falls_is_not_changed() -> None:
    assert choose_otherwise(made("c-1", share=0.0), made("c-2"), POOL, Random(0)) is None
    only = made("c-1", share=1.0)
    assert all(operator(only, made("c-2"), POOL, Random(0)) is None for operator, _ in (*SHIFTS[2:], *METRICS))
    assert shift(only, only, POOL, Random(1)) is not None


def test_seeds_are_either_side_alone_and_splits_and_all_can_be_measured(bench: Bench) -> None:
    seeds = Builtin().seeds(situation(bench))
    recipes = [child.recipe for child in seeds]
    assert recipes[:3] == [method(name, 0.25, PATTERN) for name in ("frequency", "reap", "wanda_sp")]
    shares = [recipe.pattern.share for recipe in recipes[3:] if isinstance(recipe.pattern, ExpertsAndWidth)]
    assert {0.0, 0.25, 0.5, 0.75} == set(shares)
    screen = Signatures(bench).screen([])
    assert [screen.objection(recipe) for recipe in recipes] == [None] * len(recipes)
    for recipe in recipes:
        assert bench.divergence(recipe, 64).sparsity >= 0.25


def test_two_splits_that_come_to_the_same_are_one_candidate(bench: Bench) -> None:
    one, other = (method("wanda", 0.25, PATTERN.model_copy(update={"share": share})) for share in (0.5, 0.51))
    screen = Signatures(bench).screen([Candidate(id="c-1", recipe=one, operator="seed")])
    assert screen.objection(other) == "chooses the same weights as c-1"
    assert screen.objection(method("wanda", 0.3, PATTERN.only("width"))) is None
    gate = Signatures(bench).screen(
        [
            Candidate(id=f"c-{n}", recipe=method(name, 0.25, PATTERN), operator="seed")
            for n, name in enumerate(("reap", "wanda_sp"))
        ]
    )
    assert gate.likeness("c-0") == {}


def test_what_was_bred_is_fresh_and_controls_draw_from_the_same_space(bench: Bench) -> None:
    seeds = [child.recipe for child in Builtin().seeds(situation(bench))]
    parents = [
        parent_of(Candidate(id=f"c-{n}", recipe=recipe, operator="seed"), bench, PATTERN)
        for n, recipe in enumerate(seeds[2:6])
    ]
    here = situation(bench, population=parents, generation=1)
    screen = Signatures(bench).screen([])
    children = Builtin().propose(here, lambda child: screen.objection(child.recipe) is None, 4)
    assert len({child.recipe.id for child in children}) == 4
    for designer in (RandomSearch(), Evolution()):
        assert all(isinstance(child.recipe.pattern, ExpertsAndWidth) for child in designer.seeds(situation(bench)))


def test_only_memories_of_both_sides_are_seeds(bench: Bench) -> None:
    past = [
        PastCandidate(id=f"m{n}", model="m", recipe=recipe, similarity=1.0, relative=None)
        for n, recipe in enumerate((method("reap", 0.5, Experts()), method("wanda", 0.5, PATTERN)))
    ]
    seeds = Builtin().seeds(situation(bench, recalled=past))
    assert [child.recipe.sparsity for child in seeds if child.operator == "recall"] == [0.25]


@pytest.mark.parametrize(("said", "share"), [("only width", 0.0), ("only experts", 1.0), ("no experts", 0.0)])
def test_a_person_may_bar_one_side(said: str, share: float, bench: Bench) -> None:
    rules = heard(said, Steering(), Ground(GOAL)).steering
    assert rules != Steering()
    held = Obedience(rules, bench)
    recipe = held.amended(method("wanda", 0.3, PATTERN))
    assert recipe.pattern == PATTERN.model_copy(update={"share": share})
    assert held.objection(recipe) is None
    assert held.objection(method("wanda", 0.3, PATTERN)) is not None


def test_no_block_can_be_spared_and_no_other_pattern_is_advised() -> None:
    found = heard("spare block 0", Steering(), Ground(GOAL, sizes=(1.0,) * 4))
    assert not found.steering.spared
    assert "/free" not in " ".join(found.refused)
    assert "makes all blocks alike" in " ".join(found.refused)


def test_a_language_model_sets_the_split_and_only_where_there_are_two_sides() -> None:
    child = divided(made("c-1"), 0.333, "frequency", "because")
    assert child.recipe.pattern == PATTERN.model_copy(update={"share": 0.33, "by": "frequency"})
    with pytest.raises(UsageError, match="this is c-1 again"):
        divided(made("c-1"), 0.5, "reap", "because")
    assert TOOL.fits(GOAL)
    assert not TOOL.fits(Goal(model="tiny", sparsity=0.3))


def test_a_language_model_is_told_of_both_sides(bench: Bench) -> None:
    text = opening(situation(bench))
    assert "whole experts fall" in text
    assert "`least_squares` fits" in text
    assert "`bias`" not in text
