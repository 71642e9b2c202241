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
            layer = _heads(text, members) or _neurons(text, members)
            parts = [members] if layer else _apart(members, lambda p: p.name.rpartition(".")[0])
            for part in parts:
                layer = layer if layer and part is members else _neurons(text, part)
                if layer is None:
                    rest += part
                else:
                    found.append(layer)
        if rest:
            found.append(whole(rest))
    return tuple(found)


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
    """An MLP: one matrix reads as many channels as each of the others has rows (or half of them)."""
    consumers = [p for p in members if p.role in ("down", "fc2")] or _last_by_shape(
        getattr(text, "hidden_size", 0), members
    )
    if len(members) < 2 or len(consumers) != 1 or members[0].sublayer != "mlp":
        return None
    consumer, width = consumers[0], consumers[0].in_features
    producers: dict[str, Segments] = {}
    for p in members:
        if p is consumer:
            continue
        if p.out_features not in (width, 2 * width) or p.in_features != consumer.out_features:
            return None
        producers[p.name] = ((0, 1),) if p.out_features == width else ((0, 1), (width, 1))
    size = sum(p.size for p in members)
    return Layer(consumer.block, "mlp", width, size // width, 1, consumer, producers, group=_group(consumer))


def _last_by_shape(hidden: int, members: Sequence[Projection]) -> list[Projection]:
    """What hands back the model's width and reads as many channels as others have rows, where names do not say it."""
    return [
        p
        for p in members
        if p.out_features == hidden != p.in_features
        and all(
            q.in_features == hidden and q.out_features in (p.in_features, 2 * p.in_features)
            for q in members
            if q is not p
        )
    ]


def _group(consumer: Projection) -> str:
    """What layers with one number of units are called: the path inside the block, without an expert's number."""
    inside = consumer.kin.split(f".{consumer.block}.", 1)[-1]
    return f"{inside} of {consumer.in_features}"


def _heads(text: Any, members: Sequence[Projection]) -> Layer | None:
    """An attention of which every key-value head, with the query heads that read it, has rows of its own."""
    by_role = {p.role: p for p in members}
    if members[0].sublayer != "attention" or len(by_role) != len(members) or "o" not in by_role:
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
