"""How much of every layer of a family that is learnt from the model stays, so that one configuration can say it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

from tools.io.errors import SecateurError
from tools.prune.structures.anatomy import Layer, as_one
from tools.prune.structures.learnt.depth import blocks_that_stay, shorten
from tools.prune.structures.learnt.layers import any_layers
from tools.prune.structures.learnt.proof import stands
from tools.prune.structures.learnt.statement import (
    Knob,
    built_from,
    knobs_of,
    knobs_of_shapes,
    odd,
    saved,
    state_shapes,
    turn,
)
from tools.prune.structures.sizes import blocks_by_wish
from tools.recipe import Structured

if TYPE_CHECKING:
    from tools.model.checkpoint import Model

SLACK = 1e-9
"""Share of the budget that may be missed: rounding of the division only."""
TRIED = 12
"""Sizes that are tried until the configuration can say them."""
FEW = 8
"""Numbers of head groups up to which a network is built for every one; of more the configuration alone is asked."""


@dataclass(frozen=True)
class Learnt:
    """What can fall, and how the configuration says it."""

    layers: tuple[Layer, ...]
    knobs: tuple[Knob, ...]

    def config(self, model: Model, sizes: Sequence[int]) -> Any:
        """The configuration where so many units of every layer stay."""
        config, stay = copy.deepcopy(model.network.config), stays(self.layers, sizes)
        if len(stay) < model.architecture.n_blocks:
            shorten(model, config, stay)
        for knob in self.knobs:
            if not knob.fields:
                members = [(of, n) for of, n in zip(self.layers, sizes, strict=True) if of.group in knob.units]
                state_shapes(model, config, *zip(*members, strict=True))
                continue
            pairs = zip(self.layers, sizes, strict=True)
            of, size = next(((of, n) for of, n in pairs if of.group in knob.units and n), (self.layers[0], 0))
            if 0 < size < of.units:  # 0 where all blocks that have such units fell
                turn(config, knob.fields, size, of.units, of.head)
        return config

    def check(self, model: Model, sizes: Sequence[int]) -> None:
        """Complain unless the configuration makes a network of the sizes that are wanted.

        Raises:
            SecateurError: it does not.
        """
        name = type(model.network).__name__
        built = built_from(model, self.config(model, sizes))
        if built is None:
            raise SecateurError(f"{name}: its configuration does not take these sizes: use --pattern unstructured")
        if tensor := odd(model, self.layers, sizes, built, stays(self.layers, sizes)):
            raise SecateurError(f"{name}: its configuration cannot state the smaller shape of {tensor}")


def is_described(model: Model) -> bool:
    """Whether an entry of `families` says what the model is made of."""
    return model.architecture.family is not None and not model.architecture.guessed


def stays(layers: Sequence[Layer], sizes: Sequence[int]) -> tuple[int, ...]:
    """The blocks of which something stays, in forward order."""
    return tuple(sorted({of.block for of, size in zip(layers, sizes, strict=True) if size}))


def learn(model: Model) -> Learnt:
    """Heads and neurons that the configuration can give another number of, and that stand their trial."""
    layers = any_layers(model)
    if left_out := set(range(model.architecture.n_blocks)) - {of.block for of in layers}:
        raise SecateurError(
            f"{type(model.network).__name__}: nothing of block {min(left_out)} is called without what it waits for (an "
            "image?), so no structure can be judged: use --pattern unstructured"
        )
    knobs = [knob for knob in knobs_of(model, layers) if _stands(model, layers, knob)]
    groups = {group for knob in knobs for group in knob.units}
    if all(of.head for of in layers if of.group in groups):  # no field says neurons: their shapes do
        knobs += [knob for knob in knobs_of_shapes(layers, groups) if _stands(model, layers, knob)]
    known = {group: knob for knob in knobs for group in knob.units}
    apart = [of if of.group in known else as_one(of) for of in layers]
    accepted: dict[str, tuple[int, ...]] = {}
    for layer in apart:
        if layer.head and layer.group not in accepted:
            accepted[layer.group] = _accepted(model, apart, known[layer.group])
    return Learnt(
        tuple(replace(of, statable=accepted[of.group]) if of.head else of for of in apart),
        tuple(knobs),
    )


def _stands(model: Model, layers: Sequence[Layer], knob: Knob) -> bool:
    return stands(model, [of for of in layers if of.group in knob.units])


def _accepted(model: Model, layers: Sequence[Layer], knob: Knob) -> tuple[int, ...]:
    """The numbers of head groups of which a network can be built."""
    found = []
    for kept in range(1, knob.base):
        sizes = [knob.of(of.group, kept) if of.group in knob.units else of.units for of in layers]
        if all(sizes):
            one = Learnt(tuple(layers), (knob,))
            try:
                saved(one.config(model, sizes))
                if knob.base <= FEW:
                    one.check(model, sizes)
            except Exception:  # a refusal, whatever its class: that is the answer
                continue
            found.append(kept)
    return (*found, knob.base)


def fit_alike(
    model: Model, learnt: Learnt, wanted: Sequence[float], sparsity: float, pattern: Structured
) -> tuple[int, ...]:
    """Units that stay in every layer: one share of all heads, one of all neurons, of the blocks that stay.

    Raises:
        SecateurError: the pattern cannot remove that much.
    """
    layers = learnt.layers
    total = sum(of.size for of in layers)
    most = (1 - sparsity + SLACK) * total
    order = blocks_by_wish(layers, wanted)
    attention, neurons = _levels(learnt, pattern)
    found: list[tuple[float, float, tuple[int, ...]]] = []
    least, said = total, ""
    for gone in range(len(order)) if pattern.depth else (0,):
        stay = blocks_that_stay(model, order, gone) if gone else tuple(sorted(order))
        if stay is None:
            said = "other numbers of blocks cannot be said by its configuration. "
            continue
        for heads, share in product(attention, neurons):
            sizes = tuple(_size(learnt, of, heads, share) if of.block in stay else 0 for of in layers)
            left = sum(of.cost * n for of, n in zip(layers, sizes, strict=True))
            least = min(least, left)
            if left <= most:
                far = sum(of.size * (1 - n / of.units - w) ** 2 for of, n, w in zip(layers, sizes, wanted, strict=True))
                found.append((most - left, far, sizes))
        if found and not pattern.width:
            break
    if not found and not pattern.depth and not learnt.knobs:
        name = type(model.network).__name__
        raise SecateurError(f"{name}: of no heads or neurons can less be written down in its configuration: use depth")
    if not found:
        raise SecateurError(
            f"{sparsity:.4g} cannot be removed by {pattern}: {least / total:.4g} of the weights would be left at the "
            f"least. {said}Ask for less, or use width+depth."
        )
    near = min(under for under, _, _ in found) + _step(learnt, neurons)
    found.sort(key=lambda one: (one[0] >= near, one[1] if one[0] < near else one[0]))
    return _sayable(model, learnt, [sizes for _, _, sizes in found[:TRIED]])


def _sayable(model: Model, learnt: Learnt, choices: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The first of these sizes that the configuration can say: some round to multiples (xLSTM)."""
    refusal: SecateurError | None = None
    for sizes in choices:
        try:
            learnt.check(model, sizes)
        except SecateurError as error:
            refusal = refusal or error
        else:
            return sizes
    assert refusal is not None, "there are choices"
    raise refusal


def _levels(learnt: Learnt, pattern: Structured) -> tuple[list[float], list[float]]:
    """Shares of heads and of neurons that may stay."""
    heads, neurons = [1.0], [1.0]
    if pattern.width:
        for of in learnt.layers:
            if of.head:
                heads = [n / of.units for n in of.statable]
                break
        lead = _lead(learnt)
        if lead is not None:
            neurons = [n / lead.base for n in (*range(pattern.multiple, lead.base, pattern.multiple), lead.base)]
    return heads, neurons


def _lead(learnt: Learnt) -> Knob | None:
    """The knob of most neurons' weights."""
    sizes: dict[int, int] = {}
    for of in learnt.layers:
        for place, knob in enumerate(learnt.knobs):
            if of.group in knob.units and not of.head:
                sizes[place] = sizes.get(place, 0) + of.size
    return learnt.knobs[max(sizes, key=lambda place: sizes[place])] if sizes else None


def _size(learnt: Learnt, of: Layer, heads: float, neurons: float) -> int:
    knob = next((knob for knob in learnt.knobs if of.group in knob.units), None)
    if knob is None or of.units == 1:
        return of.units
    kept = max(1, round(knob.base * (heads if of.head else neurons)))
    while not knob.of(of.group, kept):
        kept += 1
    return knob.of(of.group, kept)


def _step(learnt: Learnt, neurons: Sequence[float]) -> float:
    """Weights of the smallest step of width; of depth alone those of the smallest block."""
    if len(neurons) > 1:
        return (neurons[1] - neurons[0]) * sum(of.size for of in learnt.layers if of.units > 1 and not of.head)
    blocks: dict[int, int] = {}
    for of in learnt.layers:
        blocks[of.block] = blocks.get(of.block, 0) + of.size
    return min(blocks.values())
