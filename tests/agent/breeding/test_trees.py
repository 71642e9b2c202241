"""Random trees, mutation, cross-over and tournament: always valid, always repeatable, never stuck."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.breeding.trees import MAX_NODES, crossover, mutate, random_tree, tournament
from tools.expression import (
    ALLOCATION,
    METRIC,
    NAMED_ALLOCATIONS,
    NAMED_METRICS,
    Call,
    Language,
    Node,
    depth,
    evaluate,
    format_expression,
    parse,
    simplify,
    size,
    used_terminals,
)
from tools.expression.bounds import axes
from tools.expression.nodes import walk
from tools.expression.operators import COLUMN, ROW
from tools.io.errors import SecateurError

languages = pytest.mark.parametrize("language", [METRIC, ALLOCATION], ids=lambda language: language.name)
seeds = st.integers(0, 2**32)


def named(language: Language) -> list[Node]:
    texts = NAMED_METRICS.values() if language is METRIC else [a.expression for a in NAMED_ALLOCATIONS.values()][1:]
    return [parse(text, language) for text in texts]


def check_valid(node: Node, language: Language) -> None:
    assert parse(format_expression(node), language) == node
    assert size(node) <= MAX_NODES
    for part in walk(node):
        if isinstance(part, Call) and part.operator.startswith("row_"):
            assert "column" in (axes(part.arguments[0], language) or ())


@languages
def test_random_trees_are_valid_and_as_deep_as_asked(language: Language) -> None:
    @settings(deadline=None, max_examples=200)
    @given(seeds)
    def check(seed: int) -> None:
        node = random_tree(language, Random(seed))
        check_valid(node, language)
        # A constant exponent or factor does not count as a level, a leaf does.
        assert 3 <= depth(node) <= 5
        assert axes(node, language) == (ROW | COLUMN if language is METRIC else COLUMN)

    check()


def lineage(language: Language, seed: int, generations: int) -> Iterator[Node]:
    rng = Random(seed)
    population = named(language)
    for _ in range(generations):
        parent, other = rng.choice(population), rng.choice(population)
        child = crossover(parent, other, language, rng) if rng.random() < 0.5 else mutate(parent, language, rng)
        population.append(child)
        yield child


@languages
def test_long_lineages_stay_inside_the_limits(language: Language) -> None:
    @settings(deadline=None, max_examples=25)
    @given(seeds)
    def check(seed: int) -> None:
        for child in lineage(language, seed, 30):
            check_valid(child, language)

    check()


@languages
def test_the_same_seed_gives_the_same_children(language: Language) -> None:
    assert list(lineage(language, 7, 40)) == list(lineage(language, 7, 40))
    assert list(lineage(language, 7, 40)) != list(lineage(language, 8, 40))


@languages
def test_a_mutation_changes_something(language: Language) -> None:
    for parent in named(language):
        children = [mutate(parent, language, Random(seed)) for seed in range(40)]
        assert parent not in children
        assert len({format_expression(child) for child in children}) > 15


def test_crossover_gives_something_new_from_both_parents() -> None:
    first, second = parse(NAMED_METRICS["ria"]), parse("sqr(W) / D")
    children = [crossover(first, second, METRIC, Random(seed)) for seed in range(60)]
    assert not {first, second} & set(children)
    assert any("D" in used_terminals(child) and "col_sum" in format_expression(child) for child in children)


@pytest.mark.parametrize("terminals", [("W", "X"), ("W",), ("W", "X", "X_var")])
def test_only_available_terminals_are_drawn(terminals: tuple[str, ...]) -> None:
    rng = Random(3)
    for _ in range(100):
        node = random_tree(METRIC, rng, terminals=terminals)
        assert used_terminals(node) <= set(terminals)
        assert used_terminals(mutate(node, METRIC, rng, terminals=terminals)) <= set(terminals)


def test_a_parametrised_terminal_draws_its_number_or_keeps_it() -> None:
    rng = Random(0)
    drawn = {name for _ in range(60) for name in used_terminals(random_tree(ALLOCATION, rng, terminals=["outliers"]))}
    assert drawn == {"outliers(3)", "outliers(5)", "outliers(7)", "outliers(10)"}
    assert used_terminals(random_tree(ALLOCATION, rng, terminals=["outliers(4)"])) == {"outliers(4)"}


def test_most_random_metrics_rank_something() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = {
        name: torch.rand(1 if statistic.axes == {"column"} else 8, 12, generator=generator) + 0.1
        for name, statistic in METRIC.terminals.items()
    }
    usable = 0
    for seed in range(200):
        try:
            evaluate(simplify(random_tree(METRIC, Random(seed))), layer)
            usable += 1
        except SecateurError:
            continue
    assert usable > 160


def test_the_fittest_of_the_drawn_wins() -> None:
    rng = Random(5)
    items = list(range(20))
    assert tournament(items, float, rng, k=20) == 0
    assert tournament(items, lambda item: -item, rng, k=100) == 19
    winners = [tournament(items, float, rng, k=3) for _ in range(300)]
    assert 3 < sum(winners) / len(winners) < 6.5
    assert len(set(winners)) > 8
