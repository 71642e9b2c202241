"""Which blocks may be left out together, and what the configuration says then."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from tools.prune.structures.learnt.statement import Shapes, built_from

if TYPE_CHECKING:
    from tools.model.checkpoint import Model

FROM_START = ("first_k_dense_replace", "num_dense_layers", "dense_layers", "n_dense_layers", "num_hash_layers")
"""Fields that count blocks of one kind from the first one on."""
FROM_END = ("num_kv_shared_layers",)
"""Fields that count blocks from the last one on: those that use keys and values of blocks before them."""
NUMBERS = ("indices", "layer_ids", "only_layers", "idxs", "layer_idx", "layers_ids")
"""How the names of lists of blocks' numbers end."""

Signature = frozenset[tuple[str, torch.Size]]


def shorten(model: Model, config: Any, stay: Sequence[int]) -> None:
    """Have the configuration speak of these blocks alone."""
    text, n_blocks = config.get_text_config(), model.architecture.n_blocks
    sizes = text.to_dict().get("per_layer_config") if getattr(text, "is_heterogeneous", False) else None
    if sizes:
        text.per_layer_config = None  # until the number of blocks is another
    for name, value in list(vars(text).items()):
        if name.startswith("_"):
            continue
        if isinstance(value, list | tuple) and name.endswith(NUMBERS) and len(value) < n_blocks:
            setattr(text, name, [stay.index(number) for number in value if number in stay])
        elif isinstance(value, list | tuple) and len(value) == n_blocks:
            setattr(text, name, type(value)(value[index] for index in stay))
        elif type(value) is int and name in FROM_START:
            setattr(text, name, sum(index < value for index in stay))
        elif type(value) is int and name in FROM_END:
            setattr(text, name, sum(index >= n_blocks - value for index in stay))
    if getattr(text, "attention_types", None):  # GPT-Neo: kinds in turns
        text.attention_types = [[[kind], 1] for kind in text.attention_layers]
    for name in depths(model):
        setattr(text, name, len(stay))
    if sizes:  # Gemma 4: sizes by the number of the block
        text.per_layer_config = {stay.index(int(k)): value for k, value in sizes.items() if int(k) in stay}


DEPTHS = (
    "num_hidden_layers",
    "n_layer",
    "n_layers",
    "num_layers",
    "decoder_layers",
    "num_decoder_layers",
    "num_blocks",
)


def depths(model: Model) -> list[str]:
    """The fields that hold the number of blocks."""
    text = model.network.config.get_text_config()
    held = [name for name in DEPTHS if name in vars(text) and vars(text)[name] == model.architecture.n_blocks]
    return held or ["num_hidden_layers"]


def sources(model: Model) -> frozenset[int]:
    """Blocks whose keys and values others use: they are never left out."""
    text, n_blocks = model.network.config.get_text_config(), model.architecture.n_blocks
    shared = max((getattr(text, name, None) or 0 for name in FROM_END), default=0)
    if not shared:
        return frozenset()
    kinds = getattr(text, "layer_types", None) or [""] * n_blocks
    own = range(n_blocks - shared)
    return frozenset(max((b for b in own if kinds[b] == kind), default=0) for kind in set(kinds))


def blocks_that_stay(model: Model, order: Sequence[int], gone: int) -> tuple[int, ...] | None:
    """Blocks that stay where `gone` fall, the first in `order` if a configuration can say so; None where none can."""
    kept = sources(model)
    falls: list[int] = []
    said: list[Sequence[object]] = [
        [_attends(model, block) for block in range(model.architecture.n_blocks)],
        *_kinds_said(model),
    ]
    for block in order:
        left = [other for other in order if other not in {*falls, block}]
        apart = all(kinds[block] in {kinds[other] for other in left} for kinds in said)  # caches want one of every kind
        if block not in kept and apart and len(falls) < gone:
            falls.append(block)
    if len(falls) < gone:
        return None
    stay = tuple(sorted(set(order) - set(falls)))
    dense = _kinds(model, {name: t.shape for name, t in model.network.state_dict().items()})
    for _ in range(2):
        config = copy.deepcopy(model.network.config)
        shorten(model, config, stay)
        built = built_from(model, config)
        if built is None:
            return None
        kinds = _kinds(model, built)
        if kinds == [dense[block] for block in stay]:
            return stay
        found = _matched(dense, kinds, order)
        if found is None or kept - set(found):
            return None
        stay = found
    return None


def _attends(model: Model, block: int) -> bool:
    return any(p.role in ("q", "k", "qkv", "o") for p in model.architecture.of_block(block))


def _kinds_said(model: Model) -> list[list[str]]:
    """The configuration's lists of what kind every block is."""
    held = vars(model.network.config.get_text_config()).values()
    lists = [value for value in held if isinstance(value, list) and len(value) == model.architecture.n_blocks]
    return [value for value in lists if all(isinstance(kind, str) for kind in value)]


def _kinds(model: Model, shapes: Shapes) -> list[Signature]:
    """What every block holds."""
    path = f"{model.architecture.blocks}."
    found: dict[int, set[tuple[str, torch.Size]]] = {}
    for name, shape in shapes.items():
        if name.startswith(path):
            number, _, rest = name.removeprefix(path).partition(".")
            found.setdefault(int(number), set()).add((rest, shape))
    return [frozenset(found[number]) for number in sorted(found)]


def _matched(dense: Sequence[Signature], kinds: Sequence[Signature], order: Sequence[int]) -> tuple[int, ...] | None:
    """Blocks of these kinds in this order, of which those that should fall last are taken."""
    worth = {block: place for place, block in enumerate(order)}
    best: list[tuple[int, tuple[int, ...]] | None] = [(0, ())] + [None] * len(kinds)
    for block, kind in enumerate(dense):
        for place in reversed(range(len(kinds))):
            before, now = best[place], best[place + 1]
            if before is not None and kinds[place] == kind:
                then = before[0] + worth[block]
                if now is None or then > now[0]:
                    best[place + 1] = then, (*before[1], block)
    last = best[-1]
    return None if last is None else last[1]
