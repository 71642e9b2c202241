"""One forward pass over a few tokens, for what names do not tell: which modules are called, and what they read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from tools.io.errors import SecateurError, reason

if TYPE_CHECKING:
    import torch

TRACED = 8
"""Tokens of the pass."""


def traced(model: Any, names: Sequence[str], watch: AbstractContextManager[object] | None = None) -> dict[str, object]:
    """Name of every one of the modules that a forward pass calls -> what it reads: equal where the tensors are one.

    Args:
        watch: open while the pass runs.

    Raises:
        SecateurError: the forward pass fails.
    """
    import torch

    seen: dict[str, list[object]] = {}
    alive: list[torch.Tensor] = []  # so that no later tensor gets the memory of one that was read

    def note(name: str) -> Callable[..., None]:
        def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            x: torch.Tensor = args[0] if args else next(iter(kwargs.values()))
            alive.append(x)
            place = (x.data_ptr(), x.numel(), x.shape[-1], x.is_contiguous() or x.stride(), x._version)
            seen.setdefault(name, []).append(place)

        return hook

    handles = [model.get_submodule(name).register_forward_pre_hook(note(name), with_kwargs=True) for name in names]
    try:
        with torch.no_grad(), watch or nullcontext():  # not inference mode, in which tensors have no versions
            model(plain_tokens(model).to(model.device), use_cache=False)
    except Exception as error:  # whatever a strange configuration leads to
        raise SecateurError(f"{type(model).__name__} fails in a forward pass: {reason(error)}") from error
    finally:
        for handle in handles:
            handle.remove()
    return {name: tuple(places) for name, places in seen.items()}


def plain_tokens(model: Any) -> torch.Tensor:
    """(1, TRACED) ids of tokens without a meaning of their own: one of an image, say, wants the image."""
    import torch

    settings = model.config.to_dict() | model.config.get_text_config().to_dict()
    special = {v for k, v in settings.items() if k.endswith(("token_id", "token_index")) and isinstance(v, int)}
    rows = model.get_input_embeddings().weight.shape[0]
    plain = [row for row in range(min(rows, TRACED + len(special))) if row not in special] or [0]
    return torch.tensor([(plain * TRACED)[:TRACED]])
