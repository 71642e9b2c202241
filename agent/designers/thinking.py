"""ChatOpenAI that keeps the reasoning which OpenAI-compatible servers send beside the answer.

langchain-openai drops `reasoning_content` (vLLM, llama.cpp, DeepSeek) and `reasoning` (Ollama, newer vLLM); who watches
a designer wants to read them. A contract test watches over the private method that this overrides.
"""

from __future__ import annotations

from typing import Any

from langchain_core.outputs import ChatGenerationChunk
from langchain_openai import ChatOpenAI


class ThinkingChatOpenAI(ChatOpenAI):
    """Puts reasoning into `additional_kwargs["reasoning_content"]` of the chunks."""

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: dict[str, Any] | None
    ) -> ChatGenerationChunk | None:
        found = super()._convert_chunk_to_generation_chunk(chunk, default_chunk_class, base_generation_info)
        choices = chunk.get("choices") or []
        delta = (choices[0].get("delta") or {}) if choices else {}
        thinking = delta.get("reasoning_content") or delta.get("reasoning")
        if found is not None and isinstance(thinking, str) and thinking:
            found.message.additional_kwargs["reasoning_content"] = thinking
        return found
