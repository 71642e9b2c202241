"""Apply a recipe whose structures fall: from the dense model's statistics (search), or block after block (final)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import torch

from tools.model.architecture import weight
from tools.model.blocks import Passes, check_blocks, passes
from tools.prune.metric import metric_scores, reads_inputs
from tools.prune.structures.anatomy import Layer
from tools.prune.structures.cut import Layout, cut_layer
from tools.prune.structures.prepared import Cut
from tools.prune.structures.scores import highest, unit_scores
from tools.prune.structures.stream import DenseStream, added, adds_up, watching
from tools.statistics.collect import Statistics
from tools.statistics.inputs import InputStatistics, batches, recording

if TYPE_CHECKING:
    from tools.model.checkpoint import Model
    from tools.text.windows import Windows

HELD = 2**30
"""Bytes that may be kept of what one matrix reads."""
Read = tuple[torch.Tensor, torch.Tensor]
"""The stream before a layer (b, length, width), and what its consumer reads (..., in_features)."""


def from_statistics(model: Model, dense: Mapping[str, torch.Tensor], statistics: Statistics, ready: Cut) -> Layout:
    """Write the candidate into the model, from the dense weights and the dense model's statistics.

    Args:
        dense: (out, in) weights of every projection before pruning.
    """
    layers = ready.layers
    prepare_biases(model, layers, ready)
    kept = []
    with torch.inference_mode():
        for layer, count in zip(layers, ready.sizes, strict=True):
            inputs = statistics.inputs[layer.consumer.name]
            kept.append(_cut(model, layer, count, dense, inputs, statistics, ready))
    return Layout(tuple(layers), tuple(kept))


def propagated(
    model: Model,
    windows: Windows,
    statistics: Statistics,
    ready: Cut,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Layout:
    """Cut the dense model layer after layer, each on what the smaller layers before it put out.

    With least squares, layers that stay whole are fitted, too: they make up for what fell before them.

    Args:
        windows: the calibration windows. statistics: of the dense model, for gradients and for layers that fall or stay
            whole. progress: called with (blocks done, blocks in all).
    """
    architecture = model.architecture
    if not reads_inputs(ready.recipe):
        dense = {p.name: weight(model.network, p) for p in architecture.projections}
        return from_statistics(model, dense, statistics, ready)
    layers = ready.layers
    prepare_biases(model, layers, ready)
    kept: list[torch.Tensor] = []
    check_blocks(model, windows.ids)
    together = batches(windows)
    with torch.inference_mode(), ExitStack() as open_passes:
        stream = None
        fits = ready.recipe.compensation.kind == "least_squares" and not any(layer.group for layer in layers)
        if fits and adds_up(model, layers, together[0]):
            ahead = open_passes.enter_context(passes(model, together))
            stream = DenseStream(ahead, layers, ready.sizes)
        held = open_passes.enter_context(passes(model, together))
        for block in range(architecture.n_blocks):
            dense = {p.name: weight(model.network, p).clone() for p in architecture.of_block(block)}
            members = [i for i, layer in enumerate(layers) if layer.block == block]
            if stream is not None:
                stream.enter(block)
            last = max((i for i in members if ready.sizes[i]), default=None)
            read: list[Read] = []
            for i in members:
                inputs = statistics.inputs[layers[i].consumer.name]
                alone = layers[i].consumer.expert is None  # of experts what they read in the dense model is taken
                if alone and (0 < ready.sizes[i] < layers[i].units or (ready.sizes[i] and stream)):
                    dense_after = stream.before_next(i) if stream else None
                    before = [layers[j] for j in members if j < i]
                    keep = read if stream and i == last and _fits(layers[i], windows, held.hidden[0]) else None
                    inputs = _record(held, layers[i], windows, "gram" in ready.needs, before, dense_after, keep)
                kept.append(_cut(model, layers[i], ready.sizes[i], dense, inputs, statistics, ready))
            if read and last is not None:  # only the last matrix has changed since
                consumer = model.network.get_submodule(layers[last].consumer.name)
                held.go_on([x + consumer(inputs).view_as(x) for x, inputs in read])
            elif last is not None:
                held.go_on()
            else:  # a block that fell hands on what it was given, in the form in which it returns it
                for k in range(len(held.hidden)):
                    held.run(k)
                held.go_on(held.hidden)
            if progress is not None:
                progress(block + 1, architecture.n_blocks)
    return Layout(tuple(layers), tuple(kept))


def _fits(layer: Layer, windows: Windows, hidden: torch.Tensor) -> bool:
    """Whether what a consumer reads of all windows may be kept, which saves running its block once more."""
    return windows.tokens * layer.consumer.in_features * hidden.element_size() <= HELD


def _record(
    held: Passes,
    layer: Layer,
    windows: Windows,
    gram: bool,
    before: Sequence[Layer],
    dense_after: Sequence[torch.Tensor] | None,
    keep: list[Read] | None,
) -> InputStatistics:
    """Statistics of what the consumer reads now, with everything before it cut already.

    Args:
        held: passes that wait before the layer's block. before: the block's layers before this one.
        dense_after: batches of the stream that this layer should leave behind, where it is known. keep: filled with the
            stream before the layer and what its consumer reads.
    """
    name = layer.consumer.name
    with (
        recording(held.model, {name: (name,)}, windows.ids.shape[1], gram) as inputs,
        watching(held.model, [*before, layer]) as seen,
    ):
        for k, x in enumerate(held.hidden):
            held.run_until(k, name)
            if dense_after is not None:
                inputs[name].miss(seen[name].inputs, dense_after[k] - added(x, [*before, layer], seen))
            if keep is not None:
                keep.append((added(x, before, seen), seen[name].inputs))
    return inputs[name]


def _cut(
    model: Model,
    layer: Layer,
    count: int,
    weights: Mapping[str, torch.Tensor],
    inputs: InputStatistics,
    statistics: Statistics,
    ready: Cut,
) -> torch.Tensor:
    """Cut one layer to `count` units; returns the indices of those that stay."""
    name = layer.consumer.name
    if count in (0, layer.units):
        kept = torch.arange(count, device=model.device)
    else:
        scores = metric_scores(ready.metric, ready.terminals, weights[name], inputs, name, statistics)
        kept = highest(unit_scores(scores, layer), count)
    cut_layer(model, layer, kept, weights, inputs, ready.recipe.compensation)
    return kept


def prepare_biases(model: Model, layers: Sequence[Layer], ready: Cut) -> None:
    """Give the consumers the biases that the recipe writes to; that they can be saved was checked by the plan."""
    if ready.recipe.compensation.kind != "bias":
        return
    for layer in layers:
        module = model.network.get_submodule(layer.consumer.name)
        if module.bias is None:
            module.bias = torch.nn.Parameter(module.weight.new_zeros(layer.consumer.out_features), requires_grad=False)
