"""Configuration of a Llama whose blocks differ (model type nemotron-nas), as vLLM's DeciLMForCausalLM reads it.

Secateur copies this file beside the weights of `secateur export --for vllm`. vLLM asks blocks for attributes, such as
`block.attention.no_op`; configurations are JSON, so a block is a dictionary that answers to both.
"""

from __future__ import annotations

from typing import Any

from transformers import LlamaConfig


class Entries(dict[str, Any]):
    """A dictionary whose entries are attributes too, at every depth."""

    def __init__(self, entries: dict[str, Any]) -> None:
        super().__init__({key: Entries(value) if isinstance(value, dict) else value for key, value in entries.items()})

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __deepcopy__(self, memo: dict[int, Any]) -> Entries:
        return Entries(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return Entries, (dict(self),)


class DeciLMConfig(LlamaConfig):  # type: ignore[misc]  # transformers is untyped here
    """A Llama's configuration with `block_configs`, one for each block."""

    model_type = "nemotron-nas"

    def __post_init__(self, **others: Any) -> None:
        super().__post_init__(**others)
        self.block_configs = [Entries(block) for block in getattr(self, "block_configs", None) or []]
