"""What a person says while a run is at work, read without a model: what holds, what is refused, what is left unread."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.steering.rules import Ground, Limit, Steering
from agent.steering.words import goes_on, heard, steering, stops
from runs.goal import Goal
from tools.recipe import Compensation, Recipe, Structured, parse_pattern

WEIGHTS = Ground(Goal(model="tiny", sparsity=0.5), sizes=(10.0,) * 8)
BOTH = replace(WEIGHTS, goal=Goal(model="tiny", sparsity=0.3, pattern=parse_pattern("width+depth/free")))
UNIFORM = replace(WEIGHTS, goal=Goal(model="tiny", sparsity=0.3, pattern=parse_pattern("width+depth")))
DEPTH = replace(WEIGHTS, goal=Goal(model="tiny", sparsity=0.3, pattern=parse_pattern("depth")))
PAIRS = replace(WEIGHTS, goal=Goal(model="tiny", sparsity=0.5, pattern=parse_pattern("2:4")))
METHOD = replace(WEIGHTS, goal=Goal(model="tiny", sparsity=0.5, method="wanda"))
EXPERTS = replace(WEIGHTS, goal=Goal(model="tiny", sparsity=0.5, pattern=parse_pattern("experts")))
NO_OBS = Steering(barred=frozenset({"obs"}))

OBEYED = [
    ("no OBS", WEIGHTS, NO_OBS),
    ("no OBS please", WEIGHTS, NO_OBS),
    ("please stop trying OBS", WEIGHTS, NO_OBS),
    ("stop using OBS.", WEIGHTS, NO_OBS),
    ("can you leave out OBS?", WEIGHTS, NO_OBS),
    ("don’t use OBS any more", WEIGHTS, NO_OBS),
    ("no compensation", BOTH, Steering(barred=frozenset({"bias", "least_squares"}))),
    ("without least squares", BOTH, Steering(barred=frozenset({"least_squares"}))),
    ("only depth", BOTH, Steering(kind="depth")),
    ("depth only please", UNIFORM, Steering(kind="depth")),
    ("no depth", BOTH, Steering(kind="width")),
    ("no width from now on", BOTH, Steering(kind="depth")),
    ("no gradients", WEIGHTS, Steering(avoided=frozenset({"G", "R"}))),
    ("avoid log in metrics", WEIGHTS, Steering(avoided=frozenset({"log"}))),
    ("prefer X_var", WEIGHTS, Steering(preferred=frozenset({"X_var"}))),
    ("spare block 0", WEIGHTS, Steering(spared=frozenset({0}))),
    ("spare the first block", WEIGHTS, Steering(spared=frozenset({0}))),
    ("don't touch the first two blocks", WEIGHTS, Steering(spared=frozenset({0, 1}))),
    ("leave the first and the last block alone", WEIGHTS, Steering(spared=frozenset({0, 7}))),
    ("keep blocks 1, 3 and 5", DEPTH, Steering(spared=frozenset({1, 3, 5}))),
    ("spare blocks 0 to 2", BOTH, Steering(spared=frozenset({0, 1, 2}))),
    ("uniform only", WEIGHTS, Steering(uniform=True)),
    ("no allocation", WEIGHTS, Steering(uniform=True)),
    (
        "no OBS and spare block 0, no gradients",
        WEIGHTS,
        replace(NO_OBS, avoided=frozenset("GR"), spared=frozenset({0})),
    ),
]


@pytest.mark.parametrize(("said", "ground", "rules"), OBEYED)
def test_what_can_be_obeyed_becomes_a_rule(said: str, ground: Ground, rules: Steering) -> None:
    found = heard(said, Steering(), ground)
    assert found.steering == rules
    assert (found.refused, found.unread) == ((), ())
    assert found.changes


@pytest.mark.parametrize(
    ("before", "later"),
    [
        ("no OBS", "OBS is fine again"),
        ("no OBS", "use OBS again"),
        ("no gradients", "gradients are allowed again"),
        ("spare block 0", "block 0 may fall again"),
        ("spare blocks 0 and 1", "you do not need to spare blocks 0 and 1"),
        ("uniform only", "allocations are fine again"),
    ],
)
def test_later_words_outrank_earlier_ones(before: str, later: str) -> None:
    assert steering([before], WEIGHTS) != Steering()
    assert steering([before, later], WEIGHTS) == Steering()
    assert steering([before, later, before], WEIGHTS) == steering([before], WEIGHTS)


def test_depth_alone_is_taken_back() -> None:
    assert steering(["only depth", "width is fine again"], BOTH) == Steering()
    assert steering(["only depth", "only width"], BOTH).kind == "width"


@pytest.mark.parametrize(
    ("said", "ground", "why"),
    [
        ("only depth", WEIGHTS, "another pattern takes a run of its own"),
        ("no unstructured", WEIGHTS, "another pattern takes a run of its own"),
        ("only 2:4", WEIGHTS, "another pattern takes a run of its own"),
        ("no depth", DEPTH, "another pattern takes a run of its own"),
        ("spare block 9", WEIGHTS, "the model has blocks 0 to 7"),
        ("spare blocks 0 to 4", WEIGHTS, "more than 95 %"),
        ("spare block 0", PAIRS, "takes the same share of every block"),
        ("spare block 0", UNIFORM, "makes all blocks alike"),
        ("spare the last block", Ground(WEIGHTS.goal), "say it again then"),
        ("uniform only", DEPTH, "says which blocks fall"),
        ("fewer candidates please", WEIGHTS, "how many"),
        ("no OBS", METHOD, "applies one recipe"),
        ("no OBS", EXPERTS, "only the published methods are compared"),
    ],
)
def test_what_cannot_be_obeyed_is_refused_in_words(said: str, ground: Ground, why: str) -> None:
    found = heard(said, Steering(), ground)
    assert found.steering == Steering()
    assert why in found.refused[0]


@pytest.mark.parametrize(
    "said",
    [
        "why not 2:4?",
        "how good is it without OBS?",
        "explain what OBS does",
        "be bold",
        "make attention gentler",
        "hello",
    ],
)
def test_what_is_no_rule_changes_nothing(said: str) -> None:
    found = heard(said, NO_OBS, WEIGHTS)
    assert found.steering == NO_OBS
    assert (found.changes, found.refused) == ((), ())
    assert found.unread


@pytest.mark.parametrize(
    ("said", "limit"),
    [
        ("at most 12 candidates", Limit("candidates", 12, more=False)),
        ("only five more minutes", Limit("minutes", 5, more=True)),
        ("ten more candidates", Limit("candidates", 10, more=True, beyond=True)),
        ("stop after 3 candidates", Limit("candidates", 3, more=True)),
        ("no more than half an hour", Limit("minutes", 30, more=False)),
        ("take 2 hours more", Limit("minutes", 120, more=True, beyond=True)),
    ],
)
def test_limits_are_read(said: str, limit: Limit) -> None:
    assert heard(said, Steering(), WEIGHTS).limits == (limit,)


@pytest.mark.parametrize("said", ["stop", "Stop after this one.", "please stop now", "that's enough"])
def test_a_stop_is_one(said: str) -> None:
    assert stops(said)
    assert not goes_on(said)


@pytest.mark.parametrize("said", ["stop using OBS", "stop trying depth", "don't stop", "why did it stop?"])
def test_what_only_speaks_of_stopping_is_none(said: str) -> None:
    assert not stops(said)


def test_recipes_that_break_a_rule_are_refused_with_it() -> None:
    plain = Recipe(sparsity=0.5, metric="W * X")
    fitted = plain.model_copy(update={"compensation": Compensation(kind="obs")})
    assert NO_OBS.objection(plain) is None
    assert NO_OBS.objection(fitted) == "the person said: no OBS"
    steep = plain.model_copy(update={"metric": "W * log(G)"})
    assert steering(["no gradients"], WEIGHTS).objection(steep) == "the person said: no G in metrics"
    wide = plain.model_copy(update={"pattern": Structured(kind="width")})
    assert Steering(kind="depth").objection(wide) == "the person said: only depth"
