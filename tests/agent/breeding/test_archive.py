"""The archive keeps one per niche and the population does not collapse."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.breeding.archive import elites, niche, population
from runs.candidate import Candidate
from tools.recipe import NM, Allocation, Compensation, Recipe, Unstructured

METRICS = ["W", "W * X", "sqr(W) / D", "W * X ** 0.5", "(W / col_sum(W) + W / row_sum(W)) * X ** 0.5"]
ALLOCATIONS = [
    Allocation(),
    Allocation(expression="skew", width=0.1),
    Allocation(expression="-skew", width=0.05),
    Allocation(expression="depth", width=0.1),
    Allocation(expression=None, vector=(0.4, 0.6)),
]
RECIPES = st.builds(
    Recipe,
    sparsity=st.just(0.5),
    metric=st.sampled_from(METRICS),
    allocation=st.sampled_from(ALLOCATIONS),
    compensation=st.sampled_from([Compensation(), Compensation(kind="obs")]),
    pattern=st.sampled_from([Unstructured(), Unstructured(group="matrix")]),
)
RANKED = st.lists(RECIPES, max_size=40).map(
    lambda recipes: [Candidate(id=f"c-{i}", recipe=recipe, operator="seed") for i, recipe in enumerate(recipes, 1)]
)


def test_a_niche_is_what_a_recipe_is_made_of() -> None:
    base = Recipe(sparsity=0.5, metric="W * X")
    assert niche(base) == niche(base.model_copy(update={"metric": "W / X"}))
    assert niche(base) != niche(base.model_copy(update={"metric": "W * X ** 0.5"}))  # deeper
    assert niche(base) != niche(base.model_copy(update={"compensation": Compensation(kind="obs")}))
    assert niche(base) != niche(base.model_copy(update={"allocation": ALLOCATIONS[1]}))
    assert niche(base.model_copy(update={"allocation": ALLOCATIONS[1]})) == niche(
        base.model_copy(update={"allocation": ALLOCATIONS[2]})
    )
    assert niche(base) != niche(Recipe(sparsity=0.5, metric="W * X", pattern=NM(n=2, m=4)))


@given(RANKED)
def test_elites_are_the_first_of_their_niche(ranked: list[Candidate]) -> None:
    found = elites(ranked)
    assert len({niche(c.recipe) for c in found}) == len(found) == len({niche(c.recipe) for c in ranked})
    for elite in found:
        better = ranked[: ranked.index(elite)]
        assert all(niche(c.recipe) != niche(elite.recipe) for c in better)


@given(RANKED, st.integers(1, 8))
def test_the_population_holds_the_best_of_each_kind_and_elites_before_others(
    ranked: list[Candidate], size: int
) -> None:
    alive = population(ranked, size, lambda one, best: True)
    assert len(alive) == min(size, len(ranked))
    assert len({c.id for c in alive}) == len(alive)
    kinds = {c.recipe.compensation.kind for c in ranked}
    if size >= len(kinds):
        for kind in kinds:
            assert next(c for c in ranked if c.recipe.compensation.kind == kind) in alive
    left_out = [c for c in elites(ranked) if c not in alive]
    if left_out:
        assert all(c in elites(ranked) for c in alive)


@given(RANKED, st.integers(1, 8), st.data())
def test_an_elite_far_behind_the_best_of_its_kind_has_no_privilege(
    ranked: list[Candidate], size: int, data: st.DataObject
) -> None:
    far = {c.id for c in ranked if data.draw(st.booleans())}
    seen: list[tuple[Candidate, Candidate]] = []

    def near(one: Candidate, best: Candidate) -> bool:
        seen.append((one, best))
        return one.id not in far or one == best

    alive = population(ranked, size, near)
    for one, best in seen:
        assert best == next(c for c in ranked if c.recipe.league == one.recipe.league)
    near_elites = [c for c in elites(ranked) if c.id not in far]
    if any(c not in alive for c in near_elites):
        firsts = [next(c for c in ranked if c.recipe.league == kind) for kind in {c.recipe.league for c in ranked}]
        assert all(c in near_elites or c in firsts for c in alive)
