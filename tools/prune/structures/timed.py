"""The time of layers on this machine, taken.

A parameter count says little of speed: attention over a long prompt costs what its weights do not show, and a narrow
matrix is not as much faster as it is smaller. So a few widths are timed, each in a block of its own that is built like
the model's, with weights at random.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tools.io.errors import SecateurError
from tools.io.hardware import hardware_of
from tools.io.shelf import Shelf, key_of
from tools.measure.latency import measure_latency, synchroniser, time_calls
from tools.measure.speed import Spread, Timing
from tools.model.blocks import calls_of, trunk_of
from tools.model.pruned.classes import module_of, plain_class, pruned_class
from tools.prune.structures.anatomy import Layer
from tools.prune.structures.seconds import DECODED, Seconds
from tools.prune.structures.shrink import shorten
from tools.recipe import Request
from tools.recipe.measurement import libraries

if TYPE_CHECKING:
    from tools.model.checkpoint import Model

WIDTHS = 7
"""Widths of a sublayer that are timed."""
REPEATS = 5


def seconds_of(model: Model, layers: Sequence[Layer], request: Request, cache: Path | None) -> Seconds:
    """Measure, or read what was measured on this machine before.

    Args:
        model: dense. cache: folder of what is kept; None keeps nothing.

    Raises:
        SecateurError: the family's blocks cannot be built without attention or MLP, or differ from each other.
    """
    key = [
        model.fingerprint,
        model.dtype,
        hardware_of(model.device),
        torch.get_num_threads(),
        request.model_dump(),
        libraries(),
    ]
    shelf = Shelf.under(cache, "seconds")
    return shelf.model(key_of(key), Seconds, lambda: _measured(model, layers, request))


def _measured(model: Model, layers: Sequence[Layer], request: Request) -> Seconds:
    widths = {sublayer: _widths([of for of in layers if of.sublayer == sublayer]) for sublayer in ("attention", "mlp")}
    queries = next((of.queries for of in layers if of.sublayer == "attention"), 0)
    timing = Timing(batches=(request.batch,), prompt=request.prompt, new=max(1, min(request.new, DECODED)), repeats=3)
    times = measure_latency([model], timing).models[0].times[0]  # first, as it refuses what no model can read
    seconds = _time_blocks(model, widths["attention"], widths["mlp"], queries, request)
    bare, rest = seconds[0], seconds[1:]
    attention = _rising(dict(zip(widths["attention"], (t - bare / 2 for t in rest), strict=False)))
    mlp = _rising(dict(zip(widths["mlp"], (t - bare / 2 for t in rest[len(attention) :]), strict=True)))
    whole = times.prefill.median + request.new * times.decode.median
    return Seconds(request=request, attention=attention, mlp=mlp, whole=whole)


def _widths(alike: Sequence[Layer]) -> list[int]:
    """Numbers of units to time, the dense one among them."""
    sizes = {of.units for of in alike}
    if len(sizes) > 1:
        raise SecateurError("the model's blocks differ from each other, so that no table of their times can be made")
    most = sizes.pop()
    return sorted({max(1, round(most * i / WIDTHS)) for i in range(1, WIDTHS + 1)})


def _rising(table: dict[int, float]) -> dict[int, float]:
    """The same with every wider layer dearer by at least a thousandth of the dearest: times are noisy, those of tiny
    layers all noise."""
    least = max(1e-9, max(table.values()) / 1000)
    found: dict[int, float] = {}
    before = 0.0
    for units in sorted(table):
        before = found[units] = max(table[units], before + least)
    return found


def _time_blocks(
    model: Model, attentions: Sequence[int], mlps: Sequence[int], queries: int, request: Request
) -> list[float]:
    """Seconds of a request in a block with nothing, in blocks with only an attention, in blocks with only an MLP."""
    family = model.architecture.known_family
    if not (module_of(family.attention) and module_of(family.mlp)):
        raise SecateurError(f"blocks of {model.architecture.model_type} cannot be timed in parts: give --sparsity")
    sizes: list[dict[str, Any]] = [{"skip": ["attention", "mlp"]}]
    for groups in attentions:
        heads = {"num_attention_heads": groups * queries, "num_key_value_heads": groups} if queries else {}
        sizes.append(heads | {"skip": ["mlp"]})
    sizes += [{family.neurons: neurons, "skip": ["attention"]} for neurons in mlps]
    trial = _network(model, sizes)
    ids = torch.randint(trial.get_input_embeddings().weight.shape[0], (request.batch, request.prompt))
    blocks = list(trial.get_submodule(family.blocks))
    trunk = trunk_of(trial, family.blocks)
    read = calls_of(trunk, blocks, ids.to(model.device))
    with torch.inference_mode():
        cache = trial(ids.to(model.device), use_cache=True, logits_to_keep=1).past_key_values
    # What a cache holds of one layer; an update puts other tensors in the place of these.
    states = [dict(vars(layer)) for layer in cache.layers]
    single = calls_of(trunk, blocks, ids[:, -1:].to(model.device), cache)
    write = [partial(_again, *of) for of in zip(single, cache.layers, states, strict=True)]
    taken = time_calls([*read, *write], REPEATS, synchroniser(model.device))
    medians = [Spread.of(seconds).median for seconds in taken]
    return [r + request.new * w for r, w in zip(medians, medians[len(blocks) :], strict=False)]


def _network(model: Model, sizes: Sequence[Mapping[str, Any]]) -> Any:
    """A network of the family with one block of each of these sizes and hardly any vocabulary."""
    family = model.architecture.known_family
    config = copy.deepcopy(model.network.config)
    text = config.get_text_config()
    shorten(text, [0] * len(sizes), model.architecture.n_blocks)
    text.vocab_size = 64
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(text, name, None)
    text.allow_global_per_layer_attribute_access = True
    text.per_layer_config = {index: dict(size) for index, size in enumerate(sizes)}
    kind = pruned_class(plain_class(type(model.network)), family)
    network = kind._from_config(config, dtype=model.network.dtype)  # at once: blocks may be large
    return network.to(model.device).eval().requires_grad_(False)


def _again(call: Callable[[], object], layer: Any, state: Mapping[str, Any]) -> None:
    """The call with the layer's cache as it was: it grows with every call, and an explicit mask does not."""
    vars(layer).update(state)
    call()
