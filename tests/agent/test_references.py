"""A reference is one recipe, in the search, among the finalists and in the final table, under every pattern."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from agent.context import Context
from agent.designers.builtin import Builtin
from agent.nodes.measure import _control
from agent.recorder import Recorder
from agent.signatures import Signatures
from agent.situation import Situation, pool_of
from agent.steering.obedience import obedience
from runs.candidate import Candidate
from runs.fold.history import History
from runs.goal import Goal
from runs.run import create
from tools.recipe import NM, Pattern, Unstructured
from tools.recipe.methods import method

ROW, MATRIX, BLOCK = (Unstructured(group=group) for group in ("row", "matrix", "block"))


def seeds_of(goal: Goal) -> list[Candidate]:
    bench: Any = None
    obeyed = obedience(bench, goal, History())
    situation = Situation(goal, 0, History(), bench, [], [], pool_of(goal), Random(0), Signatures(bench), obeyed)
    children = Builtin().seeds(situation)
    return [Candidate(id=f"c-{i}", recipe=c.recipe, operator=c.operator, why=c.why) for i, c in enumerate(children, 1)]


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [
        (ROW, {"wanda": ROW, "sparsegpt": MATRIX, "magnitude": MATRIX}),
        (MATRIX, {"wanda": ROW, "sparsegpt": MATRIX, "magnitude": MATRIX}),
        (BLOCK, {"wanda": ROW, "sparsegpt": MATRIX, "magnitude": MATRIX}),
        (NM(n=2, m=4), dict.fromkeys(("wanda", "sparsegpt", "magnitude"), NM(n=2, m=4))),
    ],
    ids=str,
)
def test_the_references_of_the_search_are_those_of_the_final_table(
    pattern: Pattern, groups: dict[str, Pattern], tmp_path: Path
) -> None:
    goal = Goal(model="tiny", sparsity=0.5, pattern=pattern)
    context = Context(Recorder(create(tmp_path, goal)), tmp_path, Builtin())
    for name, group in groups.items():
        assert context.reference(name) == method(name, 0.5, group)
    seeds = seeds_of(goal)
    found = {name: c.recipe for c in seeds if (name := _control(context, c)) is not None}
    assert found == {name: context.reference(name) for name in ("wanda", "sparsegpt")}
    for seed in seeds:
        if seed.why.startswith("published: "):
            name = seed.why.removeprefix("published: ").split()[0]
            assert seed.recipe == context.reference(name)
    assert len({c.recipe.id for c in seeds}) == len(seeds)


def test_a_search_in_another_group_also_starts_from_wandas_metric_in_it() -> None:
    for pattern in (MATRIX, BLOCK):
        seeds = seeds_of(Goal(model="tiny", sparsity=0.5, pattern=pattern))
        own = method("wanda", 0.5, pattern)
        assert next(c for c in seeds if c.recipe == own).why == f"Wanda's metric, {pattern}"
        assert {c.recipe.pattern for c in seeds if not c.recipe.allocation.uniform} == {pattern}
