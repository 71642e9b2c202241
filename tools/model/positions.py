"""How many positions a model has: what it was made for, and whether it can go on beyond.

A table ends: position 1,025 of GPT-2 has no row, and GPT-J's angles and MPT's distances are tables, too. Rotary models
go on, but beyond what they were trained on their numbers get worse without a sign. Relative positions have no length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tools.io.errors import SecateurError

_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length", "max_target_positions")
"""What configurations call it, the usual name first."""
_ENDLESS = ("bloom", "t5", "xlnet", "transfo-xl", "cpmant")
"""Model types whose positions are distances, whatever their configuration holds of a length."""
_GO_ON = ("rwkv", "jamba", "nemotron_h", "zamba", "kimi_linear", "inkling_text", "inkling2_text", "xglm")
"""Model types without a rotary part that have no table either: recurrent ones, or a table that grows."""


@dataclass(frozen=True)
class Positions:
    """`count` tokens that a model was made for; `ends` where there is nothing beyond them."""

    count: int
    ends: bool


def positions(config: Any) -> Positions | None:
    """The positions of a model, by its configuration; None where there is no limit or none is named."""
    text = config.get_text_config()
    kind = str(text.model_type)
    if kind in _ENDLESS or getattr(text, "alibi", False):
        return None
    count = next((found for key in _KEYS if (found := _whole(getattr(text, key, None)))), 0)
    if not count:
        return None
    rotary = getattr(text, "rope_parameters", None)
    if rotary is None:
        return Positions(count, ends=kind not in _GO_ON)
    return Positions(_stretched(count, rotary), ends=False)


def check_length(name: str, config: Any, length: int, what: str = "windows") -> tuple[str, ...]:
    """What must stand beside every number over windows of `length` tokens: nothing where they fit.

    Args:
        what: the windows, by their part and how their length is set.

    Raises:
        SecateurError: the model cannot read so many tokens at a time.
    """
    found = positions(config)
    if found is None or length <= found.count:
        return ()
    if found.ends:
        raise SecateurError(
            f"{name} has {found.count:,} positions, too few for {what} of {length:,} tokens; give shorter ones"
        )
    return (f"longer than the {found.count:,} positions that the model was made for",)


def require_positions(name: str, config: Any, prompt: int, new: int, what: str = "a prompt") -> None:
    """Raise SecateurError where a prompt and the new tokens after it are more than a model has positions, whether or
    not it could go on beyond."""
    found = positions(config)
    if found is not None and prompt + new > found.count:
        raise SecateurError(
            f"{name} has {found.count:,} positions, too few for {what} of {prompt:,} and {new:,} new tokens; "
            "give a shorter prompt or a smaller --new"
        )


def _stretched(count: int, rotary: Mapping[str, Any]) -> int:
    """Positions with rotary scaling, where the configuration still counts those before it.

    Linear, longrope and llama3 scaling are written beside the count that they lead to. YaRN names what it starts from,
    and dynamic scaling starts, by its formula, from the count itself.
    """
    factor, kind = rotary.get("factor"), rotary.get("rope_type")
    if not isinstance(factor, int | float):
        return count
    if kind == "dynamic":
        return max(count, int(count * factor))
    original = _whole(rotary.get("original_max_position_embeddings"))
    return max(count, int(original * factor)) if kind == "yarn" else count


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
