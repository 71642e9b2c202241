"""Evolution of what falls as a whole: the rates of layers are the genes, 1 takes a layer or a block away.

Every operator changes the rates; the budget is made exact afterwards, when the recipe is planned
(`tools.prune.structures.sizes`). Self-Pruner evolves the rates of layers in the same way, by mutation and crossover;
the switch of blocks is EvoPress's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from agent.breeding.genes import Child, Parent, Pool, child_of
from tools.recipe import Allocation, Compensation, Recipe, Structured

GONE = 1.0
NEARLY = 0.999
"""A rate from which a layer counts as gone."""
STEPS = (0.03, 0.06, 0.12)
TAKEN_FROM_THE_OTHER = 0.5

FAVOUR = 16.0
"""How much likelier the block that is missed least is to be taken than the one that is missed most."""

Change = Callable[[list[float], Parent, Pool, Random], str | None]


def pattern_of(parent: Parent) -> Structured:
    """The parent's pattern, which must be one of structures."""
    pattern = parent.recipe.pattern
    assert isinstance(pattern, Structured), "these operators are for structures"
    return pattern


def allocation_of(rates: Sequence[float]) -> Allocation:
    """Explicit rates of all layers."""
    return Allocation(expression=None, vector=tuple(round(rate, 6) for rate in rates), granularity="layer")


def mostly_blocks(recipe: Recipe) -> bool:
    """Whether at least half of what falls are whole blocks, or attentions or MLPs as a whole; by their number."""
    rates = recipe.allocation.vector or (0.0,)
    return recipe.pattern.kind == "depth" or sum(r >= NEARLY for r in rates) >= recipe.sparsity / 2 * len(rates)


def levelled(rates: Sequence[float], parent: Parent) -> list[float]:
    """The rates with those of the layers that stay scaled so that the sparsity on the whole is the recipe's."""
    sizes = [size for _, _, size in parent.layers]
    gone = sum(size for rate, size in zip(rates, sizes, strict=True) if rate >= NEARLY)
    partly = sum(rate * size for rate, size in zip(rates, sizes, strict=True) if rate < NEARLY)
    stays = sum(sizes) - gone
    missing = parent.recipe.sparsity * sum(sizes) - gone
    if not stays or missing <= 0:
        return [rate if rate >= NEARLY else 0.0 for rate in rates]
    if partly <= 0:
        return [rate if rate >= NEARLY else min(0.95, missing / stays) for rate in rates]
    return [rate if rate >= NEARLY else min(0.95, rate * missing / partly) for rate in rates]


def _blocks(parent: Parent) -> dict[int, list[int]]:
    """Block -> places of its layers."""
    found: dict[int, list[int]] = {}
    for place, (block, _, _) in enumerate(parent.layers):
        found.setdefault(block, []).append(place)
    return found


def _wholes(parent: Parent) -> list[list[int]]:
    """What falls at a time: the layers of a block together, or with free shapes each alone."""
    blocks = list(_blocks(parent).values())
    if pattern_of(parent).shapes == "uniform":
        return blocks
    return [[place] for places in blocks for place in places]


def _split(rates: Sequence[float], parent: Parent) -> tuple[list[list[int]], list[list[int]]]:
    """Wholes that are gone and wholes that stay."""
    wholes = _wholes(parent)
    gone = [w for w in wholes if all(rates[i] >= NEARLY for i in w)]
    return gone, [w for w in wholes if w not in gone]


def spare(wholes: Sequence[list[int]], parent: Parent, pool: Pool, rng: Random) -> list[int]:
    """One of them to take away, rather of a block that is missed little."""
    return _drawn(wholes, parent, pool, rng, 1.0)


def needed(wholes: Sequence[list[int]], parent: Parent, pool: Pool, rng: Random) -> list[int]:
    """One of them to bring back, rather of a block that is missed much."""
    return _drawn(wholes, parent, pool, rng, -1.0)


def _drawn(wholes: Sequence[list[int]], parent: Parent, pool: Pool, rng: Random, sign: float) -> list[int]:
    """By ranks: every one is likelier than the next by the same factor, the first than the last by `FAVOUR`."""
    if not pool.losses:
        return rng.choice(wholes)
    ranked = sorted(wholes, key=lambda places: sign * pool.losses[parent.layers[places[0]][0]])
    return rng.choices(ranked, [FAVOUR ** (-i / len(ranked)) for i in range(len(ranked))])[0]


def switch(rates: list[float], parent: Parent, pool: Pool, rng: Random) -> str | None:
    """Something that is gone comes back and something else goes, one to three times."""
    if not pattern_of(parent).depth:
        return None
    times = min(rng.randint(1, 3), rng.randint(1, 3))
    names = []
    for _ in range(times):
        gone, there = _split(rates, parent)
        if not gone or not there:
            return None
        back, away = needed(gone, parent, pool, rng), spare(there, parent, pool, rng)
        for i in back:
            rates[i] = _usual(rates)
        for i in away:
            rates[i] = GONE
        names.append(f"{_name(away, parent)} for {_name(back, parent)}")
    return f"took {', '.join(names)}"


def deepen(rates: list[float], parent: Parent, pool: Pool, rng: Random) -> str | None:
    """Depth against width: one whole more or less goes, the width of the others pays for it."""
    pattern = pattern_of(parent)
    if not (pattern.depth and pattern.width):
        return None
    gone, there = _split(rates, parent)
    if gone and rng.random() < 0.5:
        back = needed(gone, parent, pool, rng)
        for i in back:
            rates[i] = _usual(rates)
        return f"{_name(back, parent)} comes back, the others get narrower"
    if len(there) < 2:
        return None
    away = spare(there, parent, pool, rng)
    for i in away:
        rates[i] = GONE
    return f"{_name(away, parent)} goes, the others get wider"


def balance(rates: list[float], parent: Parent, pool: Pool, rng: Random) -> str | None:
    """Attention against MLP, in all layers that stay."""
    if not pattern_of(parent).width:
        return None
    step = rng.choice(STEPS) * rng.choice((-1, 1))
    for i, (_, sublayer, _) in enumerate(parent.layers):
        if rates[i] < NEARLY:
            rates[i] = min(0.95, max(0.0, rates[i] + (2 * step if sublayer == "attention" else -step)))
    return "attention gives more, MLPs give less" if step > 0 else "attention gives less, MLPs give more"


def move(rates: list[float], parent: Parent, pool: Pool, rng: Random) -> str | None:
    """Width from one layer to another, one to three times."""
    pattern = pattern_of(parent)
    there = [i for i, rate in enumerate(rates) if rate < NEARLY]
    if not pattern.width or pattern.shapes == "uniform" or len(there) < 2:
        return None
    step = rng.choice(STEPS)
    for _ in range(min(rng.randint(1, 3), rng.randint(1, 3))):
        more, less = rng.sample(there, 2)
        rates[more], rates[less] = min(0.95, rates[more] + step), max(0.0, rates[less] - step)
    return f"{step:g} of width moved between layers"


def _usual(rates: Sequence[float]) -> float:
    """Mean rate of what stays."""
    there = [rate for rate in rates if rate < NEARLY]
    return sum(there) / len(there) if there else 0.0


def _name(places: Sequence[int], parent: Parent) -> str:
    block, sublayer, _ = parent.layers[places[0]]
    return f"block {block}" if len(places) > 1 else f"the {sublayer} of block {block}"


def _changed(change: Change) -> Callable[[Parent, Parent, Pool, Random], Child | None]:
    def operator(parent: Parent, other: Parent, pool: Pool, rng: Random) -> Child | None:
        rates = list(parent.sparsities)
        why = change(rates, parent, pool, rng) if len(rates) > 2 else None
        if why is None:
            return None
        return child_of(parent, change.__name__, why, allocation=allocation_of(levelled(rates, parent)))

    return operator


def cross_rates(parent: Parent, other: Parent, pool: Pool, rng: Random) -> Child | None:
    """Every block's rates from one of two parents."""
    if parent.id == other.id or len(parent.sparsities) != len(other.sparsities):
        return None
    rates = list(parent.sparsities)
    taken = [places for places in _blocks(parent).values() if rng.random() < TAKEN_FROM_THE_OTHER]
    for places in taken:
        for i in places:
            rates[i] = other.sparsities[i]
    why = f"rates of {len(taken)} blocks from {other.id}"
    return child_of(parent, "cross rates", why, other, allocation=allocation_of(levelled(rates, parent)))


def repair(parent: Parent, other: Parent, pool: Pool, rng: Random) -> Child | None:
    """Fit the matrices that read what fell anew. Never the other way round: every finalist is fitted."""
    if not pool.compensation or not pattern_of(parent).width or parent.recipe.compensation.kind == "least_squares":
        return None
    why = "fit the matrices that read what fell by least squares"
    return child_of(parent, "add compensation", why, compensation=Compensation(kind="least_squares"))


SHAPES = (
    (_changed(switch), 3.0),
    (_changed(deepen), 2.0),
    (_changed(balance), 1.5),
    (_changed(move), 3.0),
    (cross_rates, 2.0),
    (repair, 0.5),
)
"""Operators on shapes with their weights; those on the metric join them where there is width."""
