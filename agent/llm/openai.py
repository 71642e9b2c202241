"""A model behind a server that speaks OpenAI's protocol, with the reasoning that such servers send beside the answer.

langchain-openai drops `reasoning_content` (vLLM, llama.cpp, DeepSeek) and `reasoning` (Ollama, newer vLLM); who watches
a designer wants to read them. A contract test watches over the private method that this overrides.
"""

from __future__ import annotations

import os
from typing import Any

from langchain_core.outputs import ChatGenerationChunk
from langchain_openai import ChatOpenAI

from tools.io.errors import UsageError, reason


class ThoughtfulChatOpenAI(ChatOpenAI):
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

    def _get_request_payload(self, *given: Any, **more: Any) -> dict[str, Any]:
        payload: dict[str, Any] = super()._get_request_payload(*given, **more)
        if self.openai_api_base is not None and "max_completion_tokens" in payload:
            payload["max_tokens"] = payload.pop("max_completion_tokens")  # what local servers know
        return payload


def open_chat(name: str, *, seed: int, timeout: float, tokens: int) -> ChatOpenAI:
    """The model of that name at `OPENAI_BASE_URL`, or at OpenAI; an answer has at most so many tokens.

    Retries are this program's business; the responses protocol is not what local servers speak.

    Raises:
        UsageError: the address cannot be used.
    """
    base = os.environ.get("OPENAI_BASE_URL") or None
    try:
        return ThoughtfulChatOpenAI(
            model=name,
            api_key=lambda: os.environ.get("OPENAI_API_KEY") or "none",
            base_url=base,
            use_responses_api=False,
            stream_usage=True,
            max_retries=0,
            timeout=timeout,
            max_completion_tokens=tokens,
            seed=seed,
        )
    except Exception as error:  # of the HTTP client, which reads the address
        raise UsageError(f"OPENAI_BASE_URL cannot be used: {reason(error)}") from error
