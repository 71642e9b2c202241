"""A model on this machine as a LangChain chat model, whose every call of a tool is valid by construction.

With tools bound, a reply is exactly one call, perhaps after a short free text, and what the model writes follows the
tools' schemas and the grammars of formulas. So even a model that only babbles never calls what does not exist.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from agent.llm.conversation import Prompt, prompt
from agent.llm.guided_calls import Piece, Terminals, ToolSchema, call_grammar, pieces
from tools.guided.decoder import Decoder, Sampling
from tools.io.errors import UsageError
from tools.model.checkpoint import open_model

_CONTEXT = 2048
"""Tokens, where a model sets itself no limit."""
_ANY_TEXT = "start: /(?s:.*)/"


class LocalChatModel(BaseChatModel):
    """A transformers model that chats. Its reply depends on the conversation, the settings and the seed alone."""

    opened: Any
    """A `tools.model.checkpoint.Model`. It is read only: one that will be pruned needs a copy of its own here."""
    temperature: float = 0.8
    top_p: float = 0.95
    seed: int = 0
    max_tokens: int = 1536
    """Tokens of a reply at most, and never more than half of the model's context."""
    thought: int = 300
    """Characters of free text before a call at most; 0 for none. A model without a chat template never gets any."""
    terminals: Terminals = Terminals()
    """What formulas may read."""

    @classmethod
    def open(
        cls, name: str, *, cache: Path, dtype: str | None = None, device: str = "cpu", **settings: Any
    ) -> LocalChatModel:
        """Load a model of its own from a folder, a GGUF file, a hub id or a sample; see `open_model`.

        Raises:
            SecateurError: the model cannot be found or read.
        """
        return cls(opened=open_model(name, cache=cache, dtype=dtype, device=device), **settings)

    @property
    def _llm_type(self) -> str:
        return "local"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        settings = self.model_dump(include={"temperature", "top_p", "seed", "max_tokens", "thought"})
        return {"model_name": self.opened.name, "fingerprint": self.opened.fingerprint, **settings}

    @cached_property
    def decoder(self) -> Decoder:
        """Writes under a grammar; it keeps what it has read of a growing conversation."""
        return Decoder(self.opened.name, self.opened.network, self.opened.tokenizer)

    @property
    def context(self) -> int:
        """Tokens that the model can read and write together."""
        return int(getattr(self.opened.network.config.get_text_config(), "max_position_embeddings", _CONTEXT))

    @property
    def most(self) -> int:
        """Tokens of a reply."""
        return min(self.max_tokens, self.context // 2)

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Hold every reply to one call of one of these tools; of one in particular if `tool_choice` names it.

        The extra key `grammar` is read from the fields of a tool's `args_schema`; LangChain loses it where it makes the
        schema from a function itself.
        """
        known = [_described(tool) for tool in tools]
        return self.bind(tools=_chosen(known, tool_choice), **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop, None, **kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        *,
        tools: Sequence[ToolSchema] = (),
        seed: int | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        if stop or kwargs:
            raise UsageError(f"a local model takes no {' or '.join(kwargs) or 'stop words'}")
        began = time.monotonic()
        read = prompt(messages, tools, self.opened.tokenizer, self.context - self.most)
        sampling = self._sampling(messages, seed)
        counted = _Counted(self.decoder.write(read.tokens, self._grammar(tools), sampling, self.most))
        parts = pieces(counted) if tools else (Piece(text=text) for text in counted if text)
        call = f"call_{hashlib.sha256(f'{len(messages)} {seed} {read.tokens}'.encode()).hexdigest()[:16]}"
        for part in parts:
            chunk = ChatGenerationChunk(message=_message(part, call))
            if run_manager:
                run_manager.on_llm_new_token(part.text or part.arguments, chunk=chunk)
            yield chunk
        yield ChatGenerationChunk(message=self._last(read, counted.tokens, time.monotonic() - began))

    def _grammar(self, tools: Sequence[ToolSchema]) -> str:
        if not tools:
            return _ANY_TEXT
        thought = self.thought if self.opened.tokenizer.chat_template else 0
        return _calls(json.dumps(tools), self.terminals, thought, self.most)

    def _sampling(self, messages: Sequence[BaseMessage], seed: int | None) -> Sampling:
        # A conversation cut to the context may look the same at two turns; its length keeps the replies apart.
        mixed = hashlib.sha256(f"{self.seed if seed is None else seed} {len(messages)}".encode()).digest()
        return Sampling(self.temperature, self.top_p, int.from_bytes(mixed[:7], "big"))

    def _last(self, read: Prompt, written: int, seconds: float) -> AIMessageChunk:
        """The empty chunk that ends a reply and says what it took, and what of the conversation was not read."""
        known = len(read.tokens)
        return AIMessageChunk(
            content="",
            usage_metadata={"input_tokens": known, "output_tokens": written, "total_tokens": known + written},
            response_metadata={
                "model_name": self.opened.name,
                "dropped_turns": read.dropped,
                "cut_tokens": read.cut,
                "seconds": round(seconds, 3),
            },
            chunk_position="last",
        )


@lru_cache(maxsize=32)
def _calls(tools: str, terminals: Terminals, thought: int, most: int) -> str:
    """`call_grammar` of tools as JSON, which an agent asks for again at every turn."""
    return call_grammar(json.loads(tools), terminals, thought=thought, most=most).lark()


class _Counted:
    """Passes text on and counts its tokens."""

    def __init__(self, written: Iterator[tuple[int, str]]) -> None:
        self.written = written
        self.tokens = 0

    def __iter__(self) -> Iterator[str]:
        for tokens, text in self.written:
            self.tokens += tokens
            yield text


def _message(part: Piece, call: str) -> AIMessageChunk:
    if part.tool:
        return AIMessageChunk(content="", tool_call_chunks=[tool_call_chunk(name=part.tool, args="", id=call, index=0)])
    if part.arguments:
        return AIMessageChunk(content="", tool_call_chunks=[tool_call_chunk(args=part.arguments, index=0)])
    return AIMessageChunk(content=part.text)


def _described(tool: dict[str, Any] | type | Callable[..., Any] | BaseTool) -> ToolSchema:
    """Name, description and parameters; with the extra keys of arguments, which LangChain leaves out."""
    function: dict[str, Any] = convert_to_openai_tool(tool)["function"]
    properties = function.setdefault("parameters", {"type": "object", "properties": {}})["properties"]
    fields = getattr(getattr(tool, "args_schema", None), "model_fields", {})
    for name, info in fields.items():
        if name in properties and isinstance(info.json_schema_extra, dict):
            properties[name].update(info.json_schema_extra)
    return function


def _chosen(tools: list[ToolSchema], choice: str | Mapping[str, Any] | bool | None) -> list[ToolSchema]:
    """The tools that may be called: all, none for "none", or the one that is named."""
    name = choice["function"]["name"] if isinstance(choice, Mapping) else choice
    if name in (None, True, False, "auto", "any", "required"):
        return tools
    if name == "none":
        return []
    if not (named := [tool for tool in tools if tool["name"] == name]):
        raise UsageError(f"{name} is none of the tools {', '.join(str(tool['name']) for tool in tools)}")
    return named
