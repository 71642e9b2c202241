"""Operators on recipes: children are valid recipes of the same goal, and every gene can change."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.breeding.genes import OPERATORS, Child, Operator, Parent, Pool, breed, change_compensation, nudge_rates
from agent.designers.builtin import Builtin
from agent.designers.random import RandomSearch
from agent.signatures import Signatures
from agent.situation import Situation
from agent.steering.obedience import obedience
from runs.fold.history import History
from runs.goal import Goal
from tools.expression import ALLOCATION, METRIC, parse, used_terminals
from tools.recipe import NM, Allocation, Compensation, Recipe, Unstructured, parse_pattern

POOL = Pool(frozenset({"W", "X", "X_abs", "D"}), compensation=True)


def parent(name: str, metric: str, allocation: Allocation, units: int = 5) -> Parent:
    return Parent(name, Recipe(sparsity=0.5, metric=metric, allocation=allocation), (0.5,) * units)


FIRST = parent("c-1", "W * X", Allocation(expression="softmax(z(skew))", width=0.1))
SECOND = parent("c-2", "sqr(W) / D", Allocation(expression="-depth", width=0.05, granularity="projection"))


@given(st.integers(0, 10**6))
@settings(max_examples=150, deadline=None)
def test_children_keep_the_goal_and_can_be_parsed(seed: int) -> None:
    child = breed(FIRST, SECOND, POOL, Random(seed), OPERATORS)
    if child is None:
        return
    recipe = child.recipe
    assert recipe.sparsity == 0.5
    assert recipe != FIRST.recipe
    assert child.parents[0] == "c-1"
    parse(recipe.metric, METRIC)
    if recipe.allocation.expression not in (None, "uniform"):
        parse(str(recipe.allocation.expression), ALLOCATION)


@pytest.mark.parametrize("operator", [o for o, _ in OPERATORS])
def test_every_operator_makes_children(operator: Operator) -> None:
    assert any(operator(FIRST, SECOND, POOL, Random(seed)) for seed in range(20))


def test_the_same_seed_makes_the_same_child() -> None:
    assert breed(FIRST, SECOND, POOL, Random(3), OPERATORS) == breed(FIRST, SECOND, POOL, Random(3), OPERATORS)


def test_nudged_rates_keep_their_sum() -> None:
    for seed in range(20):
        child = nudge_rates(FIRST, SECOND, POOL, Random(seed))
        if child is not None:
            assert child.recipe.allocation.vector is not None
            assert sum(child.recipe.allocation.vector) == pytest.approx(2.5)


def test_compensation_is_left_alone_where_it_is_not_allowed() -> None:
    pool = Pool(POOL.metric_terminals, compensation=False)
    assert change_compensation(FIRST, SECOND, pool, Random(0)) is None


def test_an_n_m_goal_never_gets_an_allocation() -> None:
    two_four = Parent("c-1", Recipe(sparsity=0.5, metric="W * X", pattern=NM(n=2, m=4)))
    other = Parent("c-2", Recipe(sparsity=0.5, metric="W", pattern=NM(n=2, m=4)))
    for seed in range(200):
        child = breed(two_four, other, POOL, Random(seed), OPERATORS)
        assert child is None or (child.recipe.allocation.uniform and child.recipe.pattern == NM(n=2, m=4))


def situation(pattern: str, compensation: bool) -> Situation:
    goal = Goal.of(model="tiny", sparsity=0.5, pattern=parse_pattern(pattern), compensation_allowed=compensation)
    bench: Any = None  # the builtin operators look at no model
    pool = Pool(POOL.metric_terminals, compensation)
    return Situation(
        goal, 0, History(), bench, (), (), pool, Random(0), Signatures(bench), obedience(bench, goal, History())
    )


def test_seeds_hold_the_references_and_respect_what_is_allowed() -> None:
    seeds = Builtin().seeds(situation("unstructured", True))
    assert seeds[0].recipe.metric == "W * X"
    assert any(s.recipe.compensation == Compensation(kind="obs") for s in seeds)
    without = Builtin().seeds(situation("unstructured", False))
    assert all(s.recipe.compensation.kind == "none" for s in without)
    grouped = Builtin().seeds(situation("2:4", True))
    assert all(isinstance(s.recipe.pattern, NM) for s in grouped)


def test_proposals_are_fresh_and_different() -> None:
    here = situation("unstructured", True)
    here = replace(here, generation=1, population=(FIRST, SECOND), rng=Random(1))
    seen: list[Child] = []

    def fresh(child: Child) -> bool:
        seen.append(child)
        return child.recipe.pattern == Unstructured()

    children = Builtin().propose(here, fresh, 6)
    assert len(children) == 6
    assert len({c.recipe.id for c in children}) == 6
    assert all(c in seen for c in children)


@pytest.mark.parametrize(("pattern", "compensation"), [("unstructured", True), ("unstructured", False), ("2:4", False)])
def test_random_search_draws_from_the_same_space_and_looks_at_nothing(pattern: str, compensation: bool) -> None:
    here = situation(pattern, compensation)
    drawn = RandomSearch().propose(here, lambda child: True, 12)
    assert len({child.recipe.id for child in drawn}) == 12
    for child in drawn:
        assert child.parents == ()
        assert child.recipe.pattern == here.goal.pattern
        assert compensation or child.recipe.compensation.kind == "none"
        assert used_terminals(parse(child.recipe.metric, METRIC)) <= here.pool.metric_terminals
