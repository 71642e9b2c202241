"""Evolution of shapes: children keep the budget and the kind of shape that was asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from agent.breeding.genes import Operator, Parent, Pool, breed
from agent.breeding.shapes import GONE, SHAPES, allocation_of, levelled, mostly_blocks, needed, spare
from agent.designers.builtin import Builtin
from agent.designers.evolution import Evolution
from agent.designers.random import RandomSearch
from agent.engine import work
from agent.kinds import parent_of
from agent.kinds.structures import KIND, allows, drawn, structured_seeds
from agent.signatures import Signatures
from agent.situation import Situation, pool_of
from agent.steering.obedience import obedience
from runs.candidate import Candidate, PastCandidate
from runs.events import Stage
from runs.fold.history import History
from runs.fold.summary import summary
from runs.goal import Budget, Evaluation, Goal, Size
from runs.run import create
from tools.model.checkpoint import open_model
from tools.prune.bench import Bench
from tools.prune.structures.anatomy import layers_of
from tools.recipe import Calibration, Compensation, Recipe, Request, Structured
from tools.text.windows import windows

POOL = Pool(frozenset({"W", "X", "X_var", "X_abs"}), compensation=True)
LAYERS = tuple((block, sublayer, size) for block in range(5) for sublayer, size in (("attention", 100), ("mlp", 300)))
PATTERNS = [
    Structured(kind=kind, shapes=shapes, multiple=16)  # type: ignore[arg-type]  # of the two lists
    for kind in ("width", "depth", "width+depth")
    for shapes in ("uniform", "free")
]


def made(name: str, pattern: Structured, rates: tuple[float, ...]) -> Parent:
    recipe = Recipe(pattern=pattern, sparsity=0.4, metric="W * X", allocation=allocation_of(rates))
    return Parent(name, recipe, rates, LAYERS)


def pair(pattern: Structured) -> tuple[Parent, Parent]:
    """Two parents as the pattern has them: one or two blocks gone, the rest narrow, or nothing between."""
    if pattern.kind == "width":
        return made("c-1", pattern, (0.4,) * 10), made("c-2", pattern, (0.1, 0.5) * 5)
    rest = 0.25 if pattern.width else 0.0
    one = tuple(GONE if block in (1, 3) else rest for block, _, _ in LAYERS)
    other = tuple(GONE if block in (0, 2) else rest for block, _, _ in LAYERS)
    return made("c-1", pattern, one), made("c-2", pattern, other)


def mean(rates: tuple[float, ...]) -> float:
    return sum(rate * size for rate, (_, _, size) in zip(rates, LAYERS, strict=True)) / 2000


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_children_keep_pattern_and_sparsity(pattern: Structured, seed: int) -> None:
    first, second = pair(pattern)
    child = breed(first, second, POOL, Random(seed), KIND.operators(pattern, POOL))
    if child is None:
        return
    recipe = child.recipe
    assert recipe.pattern == pattern
    assert recipe.sparsity == 0.4
    assert recipe != first.recipe
    if (rates := recipe.allocation.vector) is not None and pattern.width:
        # A block more than the goal may be gone; widths are levelled to it otherwise.
        assert mean(rates) == pytest.approx(0.4, abs=1e-3) or mean(rates) > 0.4


def test_what_is_fitted_anew_stays_so_and_metrics_travel_with_it() -> None:
    pattern = Structured(kind="width+depth", multiple=16)
    first, second = pair(pattern)
    fitted = {"compensation": Compensation(kind="least_squares"), "metric": "W * X_var"}
    first = replace(first, recipe=first.recipe.model_copy(update=fitted))
    children = [
        child
        for seed in range(300)
        if (child := breed(first, second, POOL, Random(seed), KIND.operators(pattern, POOL))) is not None
    ]
    assert {child.recipe.compensation.kind for child in children} == {"least_squares"}
    crossed = [child.recipe for child in children if child.operator == "cross recipes"]
    assert crossed
    assert {(r.metric, r.allocation) for r in crossed} == {("W * X_var", second.recipe.allocation)}


@pytest.mark.parametrize("operator", [operator for operator, _ in SHAPES])
def test_every_operator_makes_children(operator: Operator) -> None:
    first, second = pair(Structured(kind="width+depth", shapes="free", multiple=16))
    assert any(operator(first, second, POOL, Random(seed)) for seed in range(20))


def test_what_cannot_be_varied_is_left_alone() -> None:
    names = {o.__closure__[0].cell_contents.__name__: o for o, _ in SHAPES if o.__closure__}  # type: ignore[attr-defined]  # closures over the change
    deep, wide = pair(Structured(kind="depth")), pair(Structured(kind="width"))
    assert not any(names[n](*deep, POOL, Random(s)) for n in ("deepen", "balance", "move") for s in range(20))
    assert not any(names[n](*wide, POOL, Random(s)) for n in ("switch", "deepen", "move") for s in range(20))


def test_what_falls_is_mostly_blocks_from_half_of_it_on() -> None:
    pattern = Structured(kind="width+depth", multiple=16)
    for gone, mostly in ((0, False), (1, True), (2, True)):  # of 5 blocks, at 40 %
        rates = tuple(GONE if block < gone else 0.1 for block, _, _ in LAYERS)
        assert mostly_blocks(made("c-1", pattern, rates).recipe) is mostly
    recipe = made("c-1", pattern, (GONE, *(0.1,) * 9)).recipe  # an attention alone
    assert not mostly_blocks(recipe)
    assert mostly_blocks(Recipe(pattern=Structured(kind="depth"), sparsity=0.4, metric="W * X"))
    assert not mostly_blocks(Recipe(sparsity=0.4, metric="W * X"))


def test_a_switch_keeps_the_number_of_blocks() -> None:
    first, second = pair(Structured(kind="depth"))
    operator = next(o for o, _ in SHAPES if o.__closure__ and o.__closure__[0].cell_contents.__name__ == "switch")  # type: ignore[attr-defined]  # as above
    for seed in range(20):
        child = operator(first, second, POOL, Random(seed))
        assert child is None or (child.recipe.allocation.vector or ()).count(GONE) == 4


def test_blocks_that_are_missed_little_are_taken_and_the_others_come_back() -> None:
    first, _ = pair(Structured(kind="depth"))
    wholes = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    pool, rng = replace(POOL, losses=(0.5, 0.1, 0.4, 0.2, 0.3)), Random(0)
    taken = Counter(spare(wholes, first, pool, rng)[0] // 2 for _ in range(2000))
    back = Counter(needed(wholes, first, pool, rng)[0] // 2 for _ in range(2000))
    assert [block for block, _ in taken.most_common()] == [1, 3, 4, 2, 0]
    assert [block for block, _ in back.most_common()] == [0, 2, 4, 3, 1]
    assert min(taken.values()) > 0, "nothing is ruled out"
    evenly = Counter(spare(wholes, first, POOL, rng)[0] // 2 for _ in range(2000))
    assert max(evenly.values()) < 1.3 * min(evenly.values())


def test_builtin_measures_what_blocks_are_missed_and_the_conventional_algorithm_does_not(bench: Bench) -> None:
    here = situation(bench, Structured(kind="depth"))
    losses = bench.layers.terminals(frozenset({"loss"}), "block")["loss"].tolist()
    assert Builtin().pool(here).losses == tuple(losses)
    assert min(losses) > 0
    assert Evolution().pool(here).losses == ()
    assert Builtin().pool(situation(bench, Structured(kind="width"))).losses == ()


def test_controls_begin_with_draws(bench: Bench) -> None:
    """The seeds for structures are mostly recipes of this program's own."""
    here = situation(bench, Structured(kind="width+depth"))
    for control in (RandomSearch(), Evolution()):
        assert {child.operator for child in control.seeds(here)} == {"draw"}


def test_draws_for_depth_take_any_block(bench: Bench) -> None:
    """Where the share is no whole number of blocks, one more falls than was drawn."""
    here = situation(bench, Structured(kind="depth"))
    blocks = bench.model.architecture.n_blocks
    here = replace(here, goal=here.goal.model_copy(update={"sparsity": 1.5 / blocks}))
    layers, fallen = layers_of(bench.model), []
    for seed in range(60):
        sizes = bench.prepare(drawn(here, Structured(kind="depth"), Random(seed), "random").recipe).sizes
        fallen.append({layer.block for layer, size in zip(layers, sizes, strict=True) if not size})
    assert {len(gone) for gone in fallen} == {2}
    assert all(10 < sum(block in gone for gone in fallen) < 50 for block in range(blocks))


def test_masks_alone_leave_biases_alone(bench: Bench) -> None:
    free = Structured(kind="width", shapes="free")
    here = situation(bench, free)
    kinds = {child.recipe.compensation.kind for child in structured_seeds(here, free)}
    assert kinds == {"none", "bias", "least_squares"}
    here = replace(here, pool=replace(here.pool, compensation=False))
    assert {child.recipe.compensation.kind for child in structured_seeds(here, free)} == {"none"}


def test_levelling_leaves_what_is_gone_and_hits_the_mean() -> None:
    first, _ = pair(Structured(kind="width+depth"))
    rates = [GONE, GONE, 0.1, 0.3, 0.2, 0.2, 0.0, 0.1, 0.3, 0.1]
    found = levelled(rates, first)
    assert found[:2] == [GONE, GONE]
    assert mean(tuple(found)) == pytest.approx(0.4)
    assert found[3] / found[2] == pytest.approx(3)
    assert levelled([GONE] * 8 + [0.3, 0.3], first)[8:] == [0.0, 0.0], "more than enough is gone"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    model = open_model("tiny", cache=tmp_path_factory.mktemp("cache"))
    calibration = windows("builtin", model, part="calibration", count=4, length=64)
    return Bench(model, calibration, windows("builtin", model, part="search", count=2, length=64))


def situation(bench: Bench, pattern: Structured, generation: int = 0, seed: int = 0) -> Situation:
    goal = Goal(model="tiny", sparsity=0.4, pattern=pattern)
    history = History()
    seeds = structured_seeds(
        Situation(
            goal,
            0,
            history,
            bench,
            [],
            [],
            pool_of(goal),
            Random(seed),
            Signatures(bench),
            obedience(bench, goal, history),
        ),
        pattern,
    )
    candidates = [Candidate(id=f"c-{i}", recipe=c.recipe, operator=c.operator) for i, c in enumerate(seeds, 1)]
    population = [parent_of(candidate, bench, pattern) for candidate in candidates]
    return Situation(
        goal,
        generation,
        history,
        bench,
        population,
        [],
        pool_of(goal),
        Random(seed),
        Signatures(bench),
        obedience(bench, goal, history),
    )


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_seeds_can_be_measured_and_are_what_was_asked_for(pattern: Structured, bench: Bench) -> None:
    seeds = structured_seeds(situation(bench, pattern), pattern)
    assert len({child.recipe.id for child in seeds}) == len(seeds) >= 3
    for child in seeds:
        assert isinstance(child.recipe.pattern, Structured)
        assert allows(pattern, child.recipe.pattern)
        assert bench.divergence(child.recipe, 64).sparsity >= 0.4 - 1e-3


def test_what_worked_before_comes_back_at_this_sparsity_where_it_fits(bench: Bench) -> None:
    asked = Structured(kind="width+depth", multiple=16)
    here = situation(bench, asked)
    rates = [GONE, GONE] + [0.1] * (len(here.population[0].layers) - 2)
    known = Recipe(pattern=asked, sparsity=0.2, metric="W * X_max", allocation=allocation_of(rates))
    others = [
        known.model_copy(update={"allocation": allocation_of(rates[2:])}),
        known.model_copy(update={"pattern": Structured(kind="width", shapes="free", multiple=16)}),
        Recipe(sparsity=0.4, metric="W"),
    ]
    past = [
        PastCandidate(id=f"run/c-{i}", model="tiny", recipe=recipe, similarity=0.9, relative=0.8)
        for i, recipe in enumerate([known, *others])
    ]
    found = [c for c in structured_seeds(replace(here, recalled=past), asked) if c.operator == "recall"]
    assert [c.recipe.metric for c in found] == ["W * X_max"]
    assert found[0].recipe.sparsity == 0.4
    assert mostly_blocks(found[0].recipe)
    assert bench.divergence(found[0].recipe, 64).sparsity >= 0.4 - 1e-3


@pytest.mark.parametrize("designer", [Builtin(), RandomSearch()], ids=lambda d: d.name)
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_proposals_are_new_and_can_be_measured(designer: Builtin, pattern: Structured, bench: Bench) -> None:
    here = situation(bench, pattern, generation=1)
    screen = Signatures(bench).screen([Candidate(id=p.id, recipe=p.recipe, operator="seed") for p in here.population])
    children = designer.propose(here, lambda child: screen.objection(child.recipe) is None, 4)
    assert children
    for child in children:
        assert child.recipe.pattern == pattern or allows(pattern, child.recipe.pattern)
        assert bench.divergence(child.recipe, 64).sparsity >= 0.4 - 1e-3


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_a_conventional_algorithm_evolves_rates_only(pattern: Structured, bench: Bench) -> None:
    here = situation(bench, pattern, generation=1)
    first = Evolution().seeds(here)
    assert len(first) == 8
    named = [Candidate(id=f"c-{i}", recipe=child.recipe, operator="draw") for i, child in enumerate(first, 1)]
    later = replace(here, population=[parent_of(candidate, bench, pattern) for candidate in named])
    screen = Signatures(bench).screen(named)
    children = Evolution().propose(later, lambda child: screen.objection(child.recipe) is None, 4)
    assert children or pattern == Structured(kind="width", multiple=16), "one width for all has few choices"
    for child in (*first, *children):
        assert child.recipe.metric == "W * X"
        assert child.recipe.compensation == Compensation()


def test_uniform_results_are_never_of_free_shape() -> None:
    asked = Structured(kind="width+depth")
    assert allows(asked, Structured(kind="width"))
    assert allows(asked, Structured(kind="depth", multiple=16))
    assert not allows(asked, Structured(kind="width", shapes="free"))
    assert not allows(Structured(kind="depth"), asked)
    assert not allows(asked, None)


def test_metrics_that_keep_the_same_structures_are_one_candidate(bench: Bench) -> None:
    pattern = Structured(kind="width", multiple=16)
    first = Recipe(pattern=pattern, sparsity=0.4, metric="W * X")
    screen = Signatures(bench).screen([Candidate(id="c-1", recipe=first, operator="seed")])
    assert screen.objection(first.model_copy(update={"metric": "3 * W * X"})) == "chooses the same weights as c-1"
    assert screen.objection(first.model_copy(update={"metric": "X_var"})) is None
    assert screen.objection(first.model_copy(update={"compensation": Compensation(kind="least_squares")})) is None


def test_a_search_for_a_smaller_model_ends_with_one_that_anybody_can_load(tmp_path: Path) -> None:
    part = Size(windows=4, length=64)
    run = create(
        tmp_path,
        Goal(
            model="tiny",
            sparsity=0.4,
            pattern=Structured(kind="width+depth", multiple=16),
            calibration=Calibration(windows=8, length=64),
            evaluation=Evaluation(search=part, selection=part, test=part),
            budget=Budget(candidates=12),
        ),
    )
    work(run)
    found = summary(run.history())
    assert found.winner is not None
    assert 0.4 <= found.winner.sparsity < 0.5
    assert {row.name for row in found.table} >= {"dense", "wanda_sp", "flap", "shortgpt"}
    history = run.history()
    ours = [history.candidates[name] for name in history.selections]
    published = [c for c in ours if c.why.startswith("published")]
    assert all(c.recipe.compensation.kind == "least_squares" for c in ours if c not in published)
    assert {mostly_blocks(c.recipe) for c in ours if c not in published} == {False, True}
    stages = [event.name for event in run.journal.read() if isinstance(event, Stage)]
    assert stages.index("losses") < stages.index("search"), "measured where it is seen"
    network = AutoModelForCausalLM.from_pretrained(run.model_folder, trust_remote_code=False)
    dense = open_model("tiny", cache=tmp_path).network
    assert sum(p.numel() for p in network.model.layers.parameters()) < 0.61 * sum(
        p.numel() for p in dense.model.layers.parameters()
    )
    assert torch.isfinite(network(torch.arange(8)[None]).logits).all()
    assert all(prompt.text and after.text and prompt.text != after.text for prompt, after in found.sides)
    assert len(found.sides) == 3


@pytest.mark.usefixtures("work_clock")
def test_a_target_of_time_ends_with_the_measured_speed(tmp_path: Path) -> None:
    part = Size(windows=4, length=64)
    run = create(
        tmp_path,
        Goal(
            model="tiny",
            sparsity=1 - 1 / 1.3,
            pattern=Structured(kind="depth", request=Request(batch=2, prompt=64, new=4)),
            method="shortgpt",
            calibration=Calibration(windows=4, length=64),
            evaluation=Evaluation(search=part, selection=part, test=part),
        ),
    )
    work(run)
    found = summary(run.history())
    assert found.speed is not None
    assert 1.3 <= found.speed.speedup < 2
    assert "1.30 asked (batch 2, 64 tokens in, 4 out" in found.gain
    assert "1.3 times faster, depth" in str(run.goal)
    assert found.as_json()["speedup"] == found.speed.speedup
