"""How much memory weights take, by precision, and what a search holds beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

BYTES: Mapping[str, float] = {"float32": 4, "bfloat16 or float16": 2}
"""Of a weight, as it is held."""
GGUF: Mapping[str, float] = {"q8_0": 34 / 32, "q5_0": 22 / 32, "q4_0": 18 / 32}
"""Of a weight in a GGUF: bytes of a block of 32 weights with its scale."""
BEYOND = (
    "What a runtime adds, such as the cache of keys and values of a long text, depends on it and is not known here."
)


def of_number(weights: float) -> str:
    """Of a model of which only the number of weights is known."""
    full, half = (size(width * weights) for width in BYTES.values())
    twice = [size(2 * width * weights) for width in BYTES.values()]
    return "\n".join(
        [
            f"{weights / 1e9:,.4g} billion weights take {_by_precision(weights)}.",
            f"Evaluating such a model holds the weights once, {half} in 16 bit ({full} in float32). A search holds a "
            f"second copy of those that can be pruned, so up to {twice[1]} ({twice[0]}), and Gram matrices for OBS and "
            'the logits of a window on top, which follow from the shapes: "how much memory does MODEL need?" tells '
            "them of a model that is named.",
            BEYOND,
        ]
    )


def of_model(name: str, folder: Path, window: int) -> str:
    """Of a model that lies here, from its shapes."""
    from tools.model.checkpoint import outline
    from tools.model.room import bench_parts

    model = outline(name, folder)
    weights = sum(parameter.numel() for parameter in model.network.parameters())
    width = model.network.dtype.itemsize
    parts = bench_parts(model.architecture, model.network, gram=True, window=window)
    told = ", ".join(f"{what} {size(held)}" for what, held in parts.items() if held)
    held = width * weights + sum(parts.values())
    return "\n".join(
        [
            f"{name} has {weights:,} weights; they take {_by_precision(weights)}.",
            f"A search in its own precision ({str(model.network.dtype).removeprefix('torch.')}) holds at least "
            f"{size(held)}: the weights {size(width * weights)}, {told}.",
            BEYOND,
        ]
    )


def _by_precision(weights: float) -> str:
    loaded = ", ".join(f"{size(width * weights)} in {name}" for name, width in BYTES.items())
    packed = ", ".join(f"{size(width * weights)} in {name}" for name, width in GGUF.items())
    return f"{loaded}; as a GGUF {packed}"


def size(held: float) -> str:
    """Bytes as people say them."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if held >= scale:
            return f"{held / scale:,.3g} {unit}"
    return f"{held / 1e3:,.3g} kB"
