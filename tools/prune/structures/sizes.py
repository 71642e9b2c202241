"""From the sparsities that an allocation wants to whole numbers of structures that keep the budget.

At least the share that was asked for falls, and less than one smallest step more than that where any sizes do so, which
times may not allow. Among those sizes the ones are taken that lie nearest to what is wanted, in squares weighted by
parameters. What counts towards the budget is
a layer's cost: its weights, or the seconds that it takes on this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

from tools.io.errors import SecateurError
from tools.prune.structures.anatomy import Layer
from tools.recipe import Structured

SLACK = 1e-9
"""Share of the budget that may be missed: rounding of the division only."""

Cost = Callable[[Layer, int], float]
"""What a layer costs with so many units; it grows with their number."""


def weights(layer: Layer, units: int) -> float:
    """The usual cost: prunable weights."""
    return units * layer.cost


def levels(layer: Layer, pattern: Structured) -> list[int]:
    """The numbers of units that may stay in a layer, ascending; without 0, which depth adds."""
    if not pattern.width or layer.units == 1:
        return [layer.units]
    if layer.sublayer == "attention":
        return list(layer.statable if pattern.shapes == "uniform" else range(1, layer.units + 1))
    return [*range(pattern.multiple, layer.units, pattern.multiple), layer.units]


def fit(
    layers: Sequence[Layer],
    wanted: Sequence[float],
    sparsity: float,
    pattern: Structured,
    cost: Cost = weights,
) -> list[int]:
    """Units that stay in every layer.

    Args:
        wanted: sparsity of every layer, between 0 and 1, any mean; 1 asks depth to take the layer.
        sparsity: share of the cost of all layers that falls at least.

    Raises:
        SecateurError: the pattern cannot remove that much.
    """
    total = sum(cost(layer, layer.units) for layer in layers)
    most = (1 - sparsity + SLACK) * total
    find = _uniform if pattern.shapes == "uniform" else _free
    kept = find(layers, wanted, most, pattern, cost)
    if kept is None:
        least = _least(layers, pattern, cost) / total
        of = "weights" if cost is weights else "time of the blocks"
        raise SecateurError(
            f"{sparsity:.4g} cannot be removed by {pattern}: {least:.4g} of the {of} would be left at the least. "
            + _advice(pattern)
        )
    return kept


def left(layers: Sequence[Layer], kept: Sequence[int], cost: Cost = weights) -> float:
    """Cost of what stays."""
    return sum(cost(layer, n) if n else 0.0 for layer, n in zip(layers, kept, strict=True))


def _advice(pattern: Structured) -> str:
    if pattern.kind == "width":
        both = "width+depth" if pattern.shapes == "uniform" else "width+depth/free"
        return f"Use {both}, a smaller --multiple, or a lower sparsity."
    return "Ask for less."


def _least(layers: Sequence[Layer], pattern: Structured, cost: Cost) -> float:
    """Cost of the smallest model that the pattern can make: depth leaves one block."""
    smallest = [cost(layer, levels(layer, pattern)[0]) for layer in layers]
    if not pattern.depth:
        return sum(smallest)
    blocks: dict[int, float] = {}
    for layer, size in zip(layers, smallest, strict=True):
        blocks[layer.block] = blocks.get(layer.block, 0) + size
    return min(blocks.values())


def _distance(layers: Sequence[Layer], wanted: Sequence[float], kept: Sequence[int]) -> float:
    """sum_l size_l (rate_l - wanted_l)^2"""
    return sum(of.size * (1 - n / of.units - w) ** 2 for of, n, w in zip(layers, kept, wanted, strict=True))


def _uniform(
    layers: Sequence[Layer], wanted: Sequence[float], most: float, pattern: Structured, cost: Cost
) -> list[int] | None:
    """One number of head groups and one of neurons for all blocks that stay; those most wanted away go.

    Where no sizes come within a step of the budget, as times of several widths may be all but equal, the nearest do.
    """
    order = blocks_by_wish(layers, wanted)
    choices = {"attention": [0], "mlp": [0]}
    for sublayer in choices:
        alike = [of for of in layers if of.sublayer == sublayer]
        if len({of.units for of in alike}) > 1:
            raise SecateurError(f"the model's blocks differ in width: use free shapes, for example {pattern.kind}/free")
        choices[sublayer] = levels(alike[0], pattern) if alike else [0]
    best: tuple[float, list[int]] | None = None
    nearest: tuple[float, list[int]] | None = None
    for gone in range(len(order)) if pattern.depth else (0,):
        fallen = frozenset(order[:gone])
        for place, groups in product(range(len(choices["mlp"])), choices["attention"]):
            sizes = {"attention": groups, "mlp": choices["mlp"][place]}
            kept = [0 if of.block in fallen else sizes[of.sublayer] for of in layers]
            under = most - left(layers, kept, cost)
            if under >= 0 and (nearest is None or under < nearest[0]):
                nearest = under, kept
            if 0 <= under < _step_back(layers, kept, choices["mlp"], place, pattern, cost):
                distance = _distance(layers, wanted, kept)
                if best is None or distance < best[0]:
                    best = distance, kept
    found = best or nearest
    return found[1] if found else None


def _step_back(
    layers: Sequence[Layer],
    kept: Sequence[int],
    neurons: Sequence[int],
    place: int,
    pattern: Structured,
    cost: Cost,
) -> float:
    """Cost of the smallest uniform step: one level of neurons everywhere, or a block where they have no levels."""
    if pattern.width and len(neurons) > 1:
        upper = min(place + 1, len(neurons) - 1)
        alive = [of for of, n in zip(layers, kept, strict=True) if n and of.sublayer == "mlp"]
        return sum(cost(of, neurons[upper]) - cost(of, neurons[upper - 1]) for of in alive)
    blocks: dict[int, float] = {}
    for of in layers:
        blocks[of.block] = blocks.get(of.block, 0) + cost(of, of.units)
    return min(blocks.values())


def blocks_by_wish(layers: Sequence[Layer], wanted: Sequence[float]) -> list[int]:
    """Blocks, the one whose weights are most wanted away first; of equals the later one."""
    gone: dict[int, float] = {}
    size: dict[int, int] = {}
    for of, share in zip(layers, wanted, strict=True):
        gone[of.block] = gone.get(of.block, 0.0) + share * of.size
        size[of.block] = size.get(of.block, 0) + of.size
    return sorted(gone, key=lambda block: (round(gone[block] / size[block], 9), block), reverse=True)


def _free(
    layers: Sequence[Layer], wanted: Sequence[float], most: float, pattern: Structured, cost: Cost
) -> list[int] | None:
    """Start at the nearest level of every layer, then take and give back single steps where they cost least."""
    choices = [([0] if pattern.depth else []) + levels(of, pattern) for of in layers]
    places = [
        min(range(len(options)), key=lambda i: abs(1 - options[i] / of.units - w))
        for options, of, w in zip(choices, layers, wanted, strict=True)
    ]

    def step(layer: int, way: int) -> tuple[float, float] | None:
        """Cost that one level down (-1) removes or one up (+1) returns, and how much further from the wish that is
        per cost; None where there is no such level."""
        place = places[layer] + way
        if not 0 <= place < len(choices[layer]):
            return None
        of, now, then = layers[layer], choices[layer][places[layer]], choices[layer][place]
        moved = abs((cost(of, then) if then else 0.0) - (cost(of, now) if now else 0.0))
        error = of.size * ((1 - then / of.units - wanted[layer]) ** 2 - (1 - now / of.units - wanted[layer]) ** 2)
        return moved, error / moved

    over = left(layers, [options[p] for options, p in zip(choices, places, strict=True)], cost) - most
    while over > 0:
        down = [(found[1], -i, found[0]) for i in range(len(layers)) if (found := step(i, -1)) is not None]
        if not down:
            return None
        _, place, moved = min(down)  # of equals the later layer, as of equal blocks
        layer = -place
        places[layer] -= 1
        over -= moved
    while True:
        up = [
            (found[1], i, found[0])
            for i in range(len(layers))
            if (found := step(i, 1)) is not None and found[0] <= -over
        ]
        if not up:
            break
        _, layer, moved = min(up)
        places[layer] += 1
        over += moved
    kept = [options[p] for options, p in zip(choices, places, strict=True)]
    return kept if any(kept) else None
