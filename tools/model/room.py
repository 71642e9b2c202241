"""Memory that is certainly needed, computed from shapes before it is taken: a run that cannot fit says so at once.

Only what is held for sure is counted (weights, their second copy, Gram matrices, the logits of a window), so nothing is
refused that might have fitted; what is counted in vain, as everything between, may still be too much.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.io.errors import SecateurError

if TYPE_CHECKING:
    from tools.model.architecture import Architecture

CGROUP = Path("/sys/fs/cgroup")


def free_memory(device: str) -> int:
    """Bytes that this process may still take: of a CUDA device, or of the host with its swap and the limits of its
    container."""
    if device.startswith("cuda"):
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        # What torch holds and does not use is free for tensors.
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    import psutil

    host = int(psutil.virtual_memory().available + psutil.swap_memory().free)
    most, now = _number(CGROUP / "memory.max"), _number(CGROUP / "memory.current")
    return host if most is None or now is None else min(host, max(0, most - now))


def _number(file: Path) -> int | None:
    """What a file of the container's limits says; None where there is none ("max" is none, too)."""
    try:
        return int(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def require_memory(parts: Mapping[str, int], device: str) -> None:
    """Complain unless all of these can be held at once.

    Args:
        parts: what is needed -> bytes.

    Raises:
        SecateurError: they cannot; the line says how much each takes.
    """
    needed, free = sum(parts.values()), free_memory(device)
    if needed > free:
        each = ", ".join(f"{what} {_gigabytes(size)}" for what, size in parts.items() if size)
        raise SecateurError(
            f"this needs {_gigabytes(needed)} of memory on {device} at the least ({each}), and {_gigabytes(free)} are "
            "free: use --dtype bfloat16, shorter windows, --no-compensation, or a smaller model"
        )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.2f} GB"


def bench_parts(architecture: Architecture, network: Any, *, gram: bool, window: int) -> dict[str, int]:
    """What a bench holds beside the model: what -> bytes.

    Args:
        gram: whether Gram matrices are collected. window: tokens of the longest window whose logits are computed.
    """
    widths = {p.name: p.in_features for p in architecture.projections}
    grams = 4 * sum(widths[names[0]] ** 2 for names in architecture.readers) if gram else 0
    return {
        "a second copy of the weights": architecture.size * network.dtype.itemsize,
        "Gram matrices": grams,
        "logits of a window": logits_bytes(network, window),
    }


def logits_bytes(network: Any, window: int) -> int:
    """Bytes of the logits of one window, and of their logarithms in float32."""
    rows = network.get_output_embeddings()
    vocabulary = 0 if rows is None else rows.weight.shape[0]
    return int(window * vocabulary * (network.dtype.itemsize + 4))
