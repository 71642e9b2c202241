"""One step of decoding with a cache, whatever the cache is called and whatever it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

CACHES = ("cache", "past_key_values", "cache_params", "state")
"""What networks of transformers call what they keep: by version, and of keys and values or of recurrent states."""


def step(network: Any, ids: torch.Tensor, cache: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
    """Read (batch, length) tokens after those that the cache holds.

    Args:
        cache: what the step before returned; empty for the first.

    Returns:
        The logits (batch, vocabulary) of the next token, and the cache under the name by which the network takes it;
        empty where the network keeps none.
    """
    said = network(ids, **cache, use_cache=True, logits_to_keep=1)
    return said.logits[:, -1], next(({name: said[name]} for name in CACHES if name in said), {})
