"""What a model of any family may lose: blocks; of blocks the heads and neurons whose matrices have the usual shapes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from tools.model.architecture import Projection
from tools.prune.structures.anatomy import Layer, Segments, head_size

if TYPE_CHECKING:
    from tools.model.checkpoint import Model


def any_layers(model: Model) -> tuple[Layer, ...]:
    """Every block's heads, neurons (those of experts expert by expert), and the rest, which can only fall whole."""
    text = model.network.config.get_text_config()
    found = []
    for block in range(model.architecture.n_blocks):
        rest: list[Projection] = []
        for members in _apart(model.architecture.of_block(block), _place):
            layers, left = _known(text, members)
            found += layers
            rest += left
        if rest:
            found.append(whole(rest))
    return tuple(found)


def _known(text: Any, members: Sequence[Projection]) -> tuple[list[Layer], list[Projection]]:
    """The attention or the MLP that some matrices are, or those of each module that holds some; and what is neither."""
    layer = _heads(text, members) or _neurons(text, members)
    if layer is not None:
        layers, left = _known(text, [p for p in members if p.name not in layer.members])
        return [layer, *layers], left
    parts = _apart(members, lambda p: p.name.rpartition(".")[0])
    if len(parts) < 2:
        return [], list(members)
    found = [_known(text, part) for part in parts]
    return [of for layers, _ in found for of in layers], [p for _, left in found for p in left]


def _apart(members: Sequence[Projection], place: Callable[[Projection], Hashable]) -> list[list[Projection]]:
    together: dict[Hashable, list[Projection]] = {}
    for p in members:
        together.setdefault(place(p), []).append(p)
    return list(together.values())


def _place(p: Projection) -> Hashable:
    """Equal for the matrices of one attention, of one expert, of the MLPs beside experts."""
    return p.sublayer, p.expert


def whole(members: Sequence[Projection]) -> Layer:
    """Matrices that can only fall together."""
    *others, last = members
    producers: dict[str, Segments] = {p.name: () for p in others}
    size = sum(p.size for p in members)
    return Layer(last.block, last.sublayer, 1, size, last.in_features, last, producers, group="rest")


def _neurons(text: Any, members: Sequence[Projection]) -> Layer | None:
    """An MLP: one matrix reads as many channels as others have rows (or half of them), of which one at least reads the
    model's width. Matrices that do neither stand beside it."""
    consumers = [p for p in members if p.role in ("down", "fc2")] or _last_by_shape(
        getattr(text, "hidden_size", 0), members
    )
    if len(consumers) != 1 or consumers[0].sublayer != "mlp":
        return None
    consumer, width = consumers[0], consumers[0].in_features
    rows: dict[int, Segments] = {width: ((0, 1),), 2 * width: ((0, 1), (width, 1))}
    fits = [p for p in members if p is not consumer and p.out_features in rows]
    beside = f"{consumer.name.rpartition('.')[0]}."
    fits = [p for p in fits if p.name.startswith(beside)] or fits
    if not any(p.in_features == consumer.out_features for p in fits):
        return None
    producers = {p.name: rows[p.out_features] for p in fits}
    size = sum(p.size for p in members if p is consumer or p.name in producers)
    return Layer(consumer.block, "mlp", width, size // width, 1, consumer, producers, group=_group(consumer))


def _last_by_shape(hidden: int, members: Sequence[Projection]) -> list[Projection]:
    """What hands back the model's width and reads as many channels as others have rows, where names do not say it."""
    first = {p.out_features for p in members if p.in_features == hidden}
    return [
        p for p in members if p.out_features == hidden != p.in_features and first & {p.in_features, 2 * p.in_features}
    ]


def _group(consumer: Projection) -> str:
    """What layers with one number of units are called: the path inside the block, without an expert's number."""
    inside = consumer.kin.split(f".{consumer.block}.", 1)[-1]
    return f"{inside} of {consumer.in_features}"


def _heads(text: Any, members: Sequence[Projection]) -> Layer | None:
    """An attention of which every key-value head, with the query heads that read it, has rows of its own."""
    by_role = {p.role: p for p in members}
    if not members or members[0].sublayer != "attention" or len(by_role) != len(members) or "o" not in by_role:
        return None
    try:
        head = head_size(text)
    except Exception:  # a configuration that has other words for it, or a size for every block
        return None
    consumer = by_role["o"]
    width, roles = consumer.in_features, set(by_role)
    fused = by_role.get("qkv")
    if roles not in ({"q", "k", "v", "o"}, {"qkv", "o"}):
        return None
    pairs = (fused.out_features - width) // 2 if fused else by_role["k"].out_features
    groups, left = divmod(pairs, head)
    if left or groups < 1 or width % (groups * head):
        return None
    span = width // groups
    rows: dict[str, Segments]
    if fused:
        rows = {fused.name: ((0, span), (width, head), (width + pairs, head))}
    elif not by_role["q"].out_features % width and by_role["v"].out_features == pairs:
        reads = by_role["q"].out_features // groups  # twice as many where every head has a gate beside it (Qwen3-Next)
        rows = {by_role["q"].name: ((0, reads),), by_role["k"].name: ((0, head),), by_role["v"].name: ((0, head),)}
    else:
        return None
    size = sum(p.size for p in members)
    named = _group(consumer)
    return Layer(consumer.block, "attention", groups, size // groups, span, consumer, rows, head, group=named)
