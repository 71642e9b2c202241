"""Two models on the same samples: intervals against a plain loop, what cannot be compared, and what is said of it."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.io.errors import SecateurError
from tools.measure.tasks import Score, TaskPlan, TaskProtocol, TaskScores, compare
from tools.measure.tasks.scores import RESAMPLES, SEED, Flips, Stratum
from tools.measure.tasks.words import conclusion, flips, gap, shown

Outcomes = Sequence[Any]


def score_of(*strata: Outcomes, value: float | None = None, **more: Any) -> Score:
    """Accuracy over every sample alike, if nothing else is said."""
    if value is None:
        value = statistics.fmean(o for outcomes in strata for o in outcomes)
    made = tuple(
        Stratum(name=f"part{i}", outcomes=tuple(outcomes), documents=f"{i}") for i, outcomes in enumerate(strata)
    )
    usual = {"metric": "acc", "higher_is_better": True, "aggregation": "mean", "version": "1", "shots": 0}
    return Score(**{**usual, **more}, value=value, strata=made)  # type: ignore[arg-type]


def scores_of(**tasks: Score) -> TaskScores:
    protocol = TaskProtocol(
        plan=TaskPlan(names=tuple(tasks)),
        begin="",
        rolling_window=2048,
        batch_tokens=512,
        dtype="float32",
        device="cpu",
        model="f00d",
        libraries={"lm_eval": "0.4.13"},
    )
    return TaskScores(protocol=protocol, tasks=tasks, seconds=1.0)


def coins(seed: int, count: int, share: float = 0.5) -> list[float]:
    return [float(x) for x in np.random.default_rng(seed).random(count) < share]


def interval(name: str, sizes: Sequence[int], value: Any) -> tuple[float, float]:
    """The middle 95 % of `value(rows of each stratum)` over draws, in a plain loop with the draws of a task."""
    rng = np.random.default_rng([SEED, *hashlib.sha256(name.encode()).digest()[:8]])
    draws = [rng.integers(0, size, (RESAMPLES, size)).tolist() for size in sizes]
    found = sorted(value(rows) for rows in zip(*draws, strict=True))

    def quantile(share: float) -> float:
        place = share * (len(found) - 1)
        low = math.floor(place)
        return float(found[low] + (place - low) * (found[low + 1] - found[low]))

    return quantile(0.025), quantile(0.975)


def mean_of_rows(outcomes: Outcomes, rows: Sequence[int]) -> float:
    return sum(outcomes[row] for row in rows) / len(rows)


def test_an_interval_is_that_of_a_plain_loop_over_pairs() -> None:
    a, b = coins(1, 30), coins(2, 30, 0.7)
    found = compare(scores_of(piqa=score_of(a)), scores_of(piqa=score_of(b))).tasks["piqa"]
    expected = interval("piqa", [30], lambda rows: mean_of_rows(a, rows[0]) - mean_of_rows(b, rows[0]))
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)
    assert found.value == pytest.approx(statistics.fmean(b))
    assert found.difference == pytest.approx(statistics.fmean(a) - statistics.fmean(b))
    pairs = list(zip(a, b, strict=True))
    assert found.flips == Flips(lost=pairs.count((0.0, 1.0)), won=pairs.count((1.0, 0.0)))


@pytest.mark.parametrize("by_size", [True, False])
def test_a_group_is_resampled_within_each_of_its_tasks(by_size: bool) -> None:
    ours, theirs = (coins(1, 24), coins(2, 6, 0.9)), (coins(3, 24, 0.6), coins(4, 6, 0.3))

    def value(strata: Sequence[Outcomes], rows: Sequence[Sequence[int]]) -> float:
        if by_size:
            return sum(o[r] for o, of in zip(strata, rows, strict=True) for r in of) / 30
        return statistics.fmean(mean_of_rows(o, of) for o, of in zip(strata, rows, strict=True))

    every = (range(24), range(6))
    made = [score_of(*of, value=value(of, every), by_size=by_size) for of in (ours, theirs)]
    found = compare(*(scores_of(mmlu=score) for score in made)).tasks["mmlu"]
    expected = interval("mmlu", [24, 6], lambda rows: value(ours, rows) - value(theirs, rows))
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)
    weights = (0.8, 0.2) if by_size else (0.5, 0.5)
    errors = [w * statistics.stdev(of) / math.sqrt(len(of)) for w, of in zip(weights, ours, strict=True)]
    assert made[0].stderr == pytest.approx(math.hypot(*errors))


@pytest.mark.parametrize("aggregation", ["weighted_perplexity", "bits_per_byte", "perplexity"])
def test_what_is_a_function_of_sums_is_resampled(aggregation: str) -> None:
    rng = np.random.default_rng(5)
    words = rng.integers(3, 30, 12).tolist()
    ours, theirs = ([(-n * (base + x), n) for n, x in zip(words, rng.random(12), strict=True)] for base in (2.0, 3.0))
    if aggregation == "perplexity":
        ours, theirs = ([ll / 20 for ll, _ in of] for of in (ours, theirs))

    def value(of: Outcomes, rows: Sequence[int]) -> float:
        if aggregation == "perplexity":
            return math.exp(-mean_of_rows(of, rows))
        each = -sum(of[r][0] for r in rows) / sum(of[r][1] for r in rows)
        return math.exp(each) if aggregation == "weighted_perplexity" else each / math.log(2)

    made = [
        score_of(of, value=value(of, range(12)), aggregation=aggregation, higher_is_better=False)
        for of in (ours, theirs)
    ]
    assert all(score.known for score in made)
    both = [scores_of(wikitext=score) for score in made]
    found = compare(*both).tasks["wikitext"]
    expected = interval("wikitext", [12], lambda rows: value(ours, rows[0]) - value(theirs, rows[0]))
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-9)
    assert found.flips is None
    assert found.better(higher_is_better=False) is True
    assert [of.mean for of in both] == [None, None], "perplexities are not averaged"
    assert made[0].stderr is not None
    assert 0 < made[0].stderr < made[0].value


def test_a_figure_that_is_no_function_of_samples_has_no_interval() -> None:
    """As of F1 over all samples, and of a value that is not what the aggregation says."""
    a, b = coins(1, 20), coins(2, 20)
    for odd in ({"aggregation": "f1"}, {"value": 0.123}, {"aggregation": "weighted_perplexity"}):
        ours, theirs = scores_of(odd=score_of(a, **odd)), scores_of(odd=score_of(b, **odd))
        found = compare(ours, theirs)
        assert (found.tasks["odd"].low, found.tasks["odd"].high, found.mean) == (None, None, None)
        assert found.tasks["odd"].better(True) is None
        assert ours.tasks["odd"].stderr is None
    other = scores_of(odd=score_of(b, aggregation="f1", value=0.25))
    found = compare(scores_of(odd=score_of(a, aggregation="f1", value=0.5)), other)
    said = conclusion(other.tasks, found, "pruned", "dense")
    assert said == "How sure odd is, is not known: the figure is no mean over samples."


def test_a_model_beside_itself_answers_as_it_does() -> None:
    ours = scores_of(piqa=score_of(coins(1, 40)), boolq=score_of(coins(2, 40)))
    found = compare(ours, ours)
    for line in found.tasks.values():
        assert (line.difference, line.low, line.high, line.flips) == (0.0, 0.0, 0.0, Flips(lost=0, won=0))
    assert found.mean is not None
    assert (found.mean.difference, found.mean.low, found.mean.high) == (0.0, 0.0, 0.0)
    assert conclusion(ours.tasks, found, "a", "b") == "a and b are right and wrong on the same samples."


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40), st.text(max_size=8))
def test_seen_from_the_other_model_the_signs_are_turned(pairs: list[tuple[bool, bool]], name: str) -> None:
    a, b = (scores_of(**{name or "t": score_of([float(pair[side]) for pair in pairs])}) for side in (0, 1))
    (ours,), (theirs,) = compare(a, b).tasks.values(), compare(b, a).tasks.values()
    assert ours.low is not None
    assert ours.high is not None
    assert ours.low <= ours.difference + 1e-12
    assert ours.difference <= ours.high + 1e-12
    assert theirs.difference == -ours.difference
    assert (theirs.low, theirs.high) == pytest.approx((-ours.high, -ours.low), abs=1e-12)
    assert ours.flips is not None
    assert theirs.flips == Flips(lost=ours.flips.won, won=ours.flips.lost)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.booleans(), min_size=2, max_size=30), st.booleans())
def test_one_more_task_changes_no_others_interval(more: list[bool], first: bool) -> None:
    a, b = score_of(coins(1, 25)), score_of(coins(2, 25))
    added = {"more": score_of(list(map(float, more)))}

    def tasks(score: Score) -> dict[str, Score]:
        return added | {"piqa": score} if first else {"piqa": score} | added

    alone = compare(scores_of(piqa=a), scores_of(piqa=b)).tasks["piqa"]
    assert compare(scores_of(**tasks(a)), scores_of(**tasks(b))).tasks["piqa"] == alone


def test_the_mean_of_tasks_has_the_interval_of_their_resampled_mean() -> None:
    a, b, c, d = (coins(seed, 20, share) for seed, share in ((1, 0.5), (2, 0.6), (3, 0.4), (4, 0.8)))
    ours, theirs = (scores_of(piqa=score_of(x), boolq=score_of(y)) for x, y in ((a, c), (b, d)))
    found = compare(ours, theirs).mean
    assert found is not None
    assert found.difference == pytest.approx(statistics.fmean([*a, *c]) - statistics.fmean([*b, *d]))
    each = {
        name: np.random.default_rng([SEED, *hashlib.sha256(name.encode()).digest()[:8]]).integers(
            0, 20, (RESAMPLES, 20)
        )
        for name in ("piqa", "boolq")
    }
    drawn = [
        (mean_of_rows(a, p) - mean_of_rows(b, p) + mean_of_rows(c, q) - mean_of_rows(d, q)) / 2
        for p, q in zip(each["piqa"].tolist(), each["boolq"].tolist(), strict=True)
    ]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=1e-12)


def test_other_samples_are_refused() -> None:
    usual = score_of(coins(1, 10))
    (stratum,) = usual.strata
    others = {
        "documents": usual.model_copy(update={"strata": (stratum.model_copy(update={"documents": "others"}),)}),
        "samples": score_of(coins(1, 9)),
        "metric": score_of(coins(1, 10), metric="acc_norm"),
        "shots": score_of(coins(1, 10), shots=5),
        "parts": score_of(coins(1, 5), coins(2, 5)),
    }
    for other in others.values():
        with pytest.raises(SecateurError, match="piqa: the two models did not answer the same samples"):
            compare(scores_of(piqa=usual), scores_of(piqa=other))
    with pytest.raises(SecateurError, match="piqa was answered by one of the two models only"):
        compare(scores_of(piqa=usual), scores_of(boolq=usual))


def test_what_is_said_of_two_models_is_what_the_intervals_allow() -> None:
    right, wrong, mixed = [1.0] * 40, [0.0] * 40, [0.0, 1.0] * 20
    ours = scores_of(a=score_of(wrong), b=score_of(right), c=score_of(mixed), d=score_of(mixed))
    theirs = scores_of(a=score_of(right), b=score_of(wrong), c=score_of(mixed), d=score_of(mixed[::-1]))
    found = compare(ours, theirs)
    said = conclusion(ours.tasks, found, "pruned", "dense")
    assert said.startswith(
        "pruned is worse than dense on a. pruned is better than dense on b. "
        "pruned shows no difference to dense on c and d at this number of samples (40). "
        "Its mean is the same (95 % interval "
    )
    assert said.endswith(", which may be chance.")
    assert gap(ours.tasks["a"], found.tasks["a"]) == "−100.0 [−100.0, −100.0]"
    assert gap(ours.tasks["b"], found.tasks["b"]) == "+100.0 [+100.0, +100.0]"
    assert gap(ours.tasks["c"], found.tasks["c"]) == "0.0 [0.0, 0.0]"
    assert flips(found.tasks["d"]) == "20 lost, 20 won"
    assert shown(ours.tasks["c"]) == f"50.0 % ± {100 * statistics.stdev(mixed) / math.sqrt(40):.1f}"
    perplexity = score_of([(-20.0, 10.0)], value=math.exp(2), aggregation="weighted_perplexity", higher_is_better=False)
    assert shown(perplexity) == "7.389", "one sample has no spread"


@pytest.mark.parametrize(
    ("lost", "won", "chance"), [(0, 0, 1.0), (1, 0, 1.0), (4, 0, 0.125), (6, 0, 0.03125), (21, 9, 0.0428), (5, 5, 1.0)]
)
def test_few_flips_tell_nothing_whatever_the_interval(lost: int, won: int, chance: float) -> None:
    assert Flips(lost=lost, won=won).chance == pytest.approx(chance, abs=1e-4)
    rest = [1.0] * (60 - lost - won)
    ours = scores_of(a=score_of([0.0] * lost + [1.0] * won + rest))
    theirs = scores_of(a=score_of([1.0] * lost + [0.0] * won + rest))
    verdict = compare(ours, theirs).tasks["a"].better(True)
    assert verdict is (False if chance < 0.05 else None)
