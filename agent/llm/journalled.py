"""A chat model whose every call is journalled, limited, and tried again where that can help.

What the journal already answers is not asked again: a resumed run goes on in the middle of a conversation, and a run
can be replayed from its journal without any model.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, SystemMessage, ToolMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from pydantic import ConfigDict, Field
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from agent.llm.plain_calls import arguments_in, call_schema, calls_in, without_calls
from agent.llm.prices import Price
from agent.recorder import Recorder
from runs.budget import BudgetSpent
from runs.events import Answered, Asked, Note, Spoke
from runs.messages import Message, ToolCall
from runs.plain import plain
from runs.secrets import unfinished
from tools.io.errors import SecateurError

ATTEMPTS = 4
WAIT = wait_exponential_jitter(initial=1, max=30)
LONGEST_ANSWER = 24_000
"""Characters after which an answer is cut off: a model that does not stop is stopped."""
LONGEST_SECONDS = 600.0
PASSAGE, CIRCLES = 60, 8
"""Characters that, said so many times, end an answer."""
PIECE_SECONDS = 0.25
"""Speech goes to the journal in pieces of this length."""
_WORTH_ANOTHER_TRY = frozenset({408, 409, 425, 429})
_NO_TOOLS_HERE = frozenset({400, 404, 405, 422, 501})


class Unusable(SecateurError):
    """The model does not answer, and trying again did not help."""


class Way(StrEnum):
    """How a model is asked to call tools."""

    NATIVE = "tool calls"
    SCHEMA = "JSON by schema"
    """Structured output: the server holds the answer to the schema of one call."""
    TEXT = "JSON in text"


@dataclass
class Line:
    """What the calls of one run share: the model, where it is recorded, what it costs, whether it knows tool calls."""

    name: str
    model: BaseChatModel | None
    """None: only what the journal answers is answered."""
    record: Recorder
    price: Price | None
    known: Mapping[str, Answered] = field(default_factory=dict)
    """Answers of another run that is replayed."""
    ways: list[Way] = field(default_factory=lambda: [Way.NATIVE, Way.TEXT])
    """How tools are called; the first is tried, and dropped for good where the model cannot do it."""
    guesses: int = 0
    """Answers whose tokens nobody counted."""
    silent: int = 0
    """Answers in a row without a native call, while that is the way."""

    def plainer(self, why: str) -> None:
        """Go on to the next way of calling tools."""
        gone = self.ways.pop(0)
        self.record(Note(text=f"{self.name} {why}: asked for {self.ways[0]} instead of {gone}"))

    def guessed(self) -> None:
        """Say it once: limits and prices are held all the same, by characters."""
        self.guesses += 1
        if self.guesses == 1:
            self.record(Note(text=f"{self.name} does not say how many tokens an answer took: judged by its length"))

    def heard(self, *, native: bool, text: bool) -> None:
        """Who writes its calls as text, or none at all twice, is held to a schema where there is one."""
        self.silent = 0 if native else self.silent + 1
        if self.ways[:2] == [Way.NATIVE, Way.SCHEMA] and not native and (text or self.silent > 1):
            self.plainer("wrote a call as text" if text else "called no tool")


class Recorded(BaseChatModel):
    """One conversation over a `Line`; its calls are `topic/1`, `topic/2`, and so on."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    line: Line
    topic: str
    tools: tuple[Any, ...] = ()
    choice: Any = None
    described: dict[str, Any] = Field(default_factory=dict)
    """Every tool that was on the table so far: in text they stay described, so that the text keeps its beginning."""
    asked: list[int] = Field(default_factory=list)
    """Messages that each call so far had."""

    @property
    def _llm_type(self) -> str:
        return "recorded"

    def bind_tools(self, tools: Sequence[Any], *, tool_choice: Any = None, **kwargs: Any) -> Runnable[Any, AIMessage]:
        """The same conversation with tools on the table."""
        self.described.update({tool.name: tool for tool in tools if tool.name not in self.described})
        return self.model_copy(update={"tools": tuple(tools), "choice": tool_choice})

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        line, call = self.line, f"{self.topic}/{len(self.asked) + 1}"
        answer = line.record.history.answers.get(call)
        if answer is None:
            fresh = messages[self.asked[-1] if self.asked else 0 :]
            line.record(
                Asked(
                    call=call,
                    model=line.name,
                    messages=tuple(_message(m) for m in fresh),
                    tools=tuple(tool.name for tool in self.tools),
                )
            )
            answer = line.known.get(call) or self._ask(call, messages)
            line.record(answer)
        self.asked.append(len(messages))
        if answer.problem:
            raise Unusable(answer.problem)
        return ChatResult(generations=[ChatGeneration(message=_spoken(answer))])

    def _ask(self, call: str, messages: list[BaseMessage]) -> Answered:
        """Ask the model, again and otherwise where that can help; a problem that stays is an answer too."""
        line = self.line
        if line.model is None:
            return Answered(call=call, problem=f"the replayed run holds no answer to {call}")
        line.record.ledger.check()
        start = time.perf_counter()
        retrying = Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=WAIT,
            retry=retry_if_exception(_passes),
            before_sleep=self._told,
            reraise=True,
        )
        try:
            whole = retrying(self._listen, call, messages)
        except BudgetSpent:
            raise
        except Exception as error:  # whatever a server or its client trips over, or a model in this process
            taken = round(time.perf_counter() - start, 3)
            return Answered(call=call, problem=f"{line.name} is unusable: {_said(error)}", seconds=taken)
        return self._answered(call, messages, whole, time.perf_counter() - start)

    def _told(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        wait = state.next_action.sleep if state.next_action else 0.0
        self.line.record(Note(text=f"{self.line.name}: {_said(error)}; again in {wait:.0f} s"))
        self.line.record.ledger.check()

    def _listen(self, call: str, messages: list[BaseMessage]) -> AIMessageChunk:
        """Stream one answer to its end, or to where it is long enough."""
        line = self.line
        while True:
            try:
                return self._stream_whole(call, *self._table(messages))
            except Exception as error:
                if not self.tools or len(line.ways) < 2 or _status(error) not in _NO_TOOLS_HERE:
                    raise
                line.plainer(f"knows no {line.ways[0]} ({_said(error)})")

    def _table(self, messages: list[BaseMessage]) -> tuple[list[BaseMessage], Any]:
        """What is sent to which model, so that it can call the tools in the way that it knows."""
        model, way = self.line.model, self.line.ways[0]
        assert model is not None
        if not self.tools:
            return messages, model
        if way is Way.NATIVE:
            more = {} if self.choice is None else {"tool_choice": self.choice}
            return messages, model.bind_tools(list(self.tools), **more)
        form = {"extra_body": {"response_format": call_schema(self.tools)}} if way is Way.SCHEMA else {}
        return without_calls(messages, list(self.described.values())), model.bind(**form)

    def _stream_whole(self, call: str, messages: list[BaseMessage], model: Any) -> AIMessageChunk:
        start, whole = time.perf_counter(), None
        speech = _Speech(call, self.line.record)
        for chunk in model.stream(messages):
            whole = chunk if whole is None else whole + chunk
            speech.hear(chunk)
            endless = speech.length > LONGEST_ANSWER or time.perf_counter() - start > LONGEST_SECONDS
            if endless or speech.circling:
                what = "did not stop" if endless else "went in circles"
                self.line.record(Note(text=f"{self.line.name} {what} and was cut off"))
                break
        speech.end()
        return AIMessageChunk(content="") if whole is None else whole

    def _answered(self, call: str, messages: list[BaseMessage], whole: AIMessageChunk, seconds: float) -> Answered:
        text, thinking = _text(whole), _thinking(whole)
        # As they were written: what langchain reads of arguments that were cut off is not what was meant.
        calls = [
            ToolCall(name=c["name"] or "", arguments=c["args"] or "{}", id=c["id"] or f"{call}/{i}")
            for i, c in enumerate(whole.tool_call_chunks)
        ]
        if self.tools:
            called = bool(calls)
            calls = calls or calls_in(text, {tool.name for tool in self.tools}, call)
            self.line.heard(native=called, text=bool(calls))
        if usage := whole.usage_metadata:
            read, written = usage["input_tokens"], usage["output_tokens"]
        else:  # cut off before the server said it, or it never does
            read, written = count_tokens_approximately(messages), count_tokens_approximately([whole, thinking])
            self.line.guessed()
        money = self.line.price.of(read, written) if self.line.price else 0.0
        return Answered(
            call=call,
            text=text,
            thinking=thinking,
            calls=tuple(calls),
            tokens_in=read,
            tokens_out=written,
            money=money,
            seconds=round(seconds, 3),
        )


class _Speech:
    """Hands what is being said to the journal, a few times a second."""

    def __init__(self, call: str, record: Callable[[Spoke], None]) -> None:
        self._call, self._record = call, record
        self._waiting: dict[bool, str] = {True: "", False: ""}
        self._last = time.perf_counter()
        self._said = ""

    @property
    def length(self) -> int:
        return len(self._said)

    @property
    def circling(self) -> bool:
        """Whether the last passage was said many times before, as small models do who find no end."""
        last = self._said[-PASSAGE:]
        return len(last) == PASSAGE and self._said.count(last) >= CIRCLES

    def hear(self, chunk: AIMessageChunk) -> None:
        for thinking, text in ((True, _thinking(chunk)), (False, _text(chunk))):
            self._waiting[thinking] += text
            self._said += text
        self._said += "".join(c["args"] or "" for c in chunk.tool_call_chunks)
        if time.perf_counter() - self._last >= PIECE_SECONDS:
            self._flush(unfinished)

    def end(self) -> None:
        """Hand on what still waits."""
        self._flush(lambda text: 0)

    def _flush(self, held_back: Callable[[str], int]) -> None:
        """Hand on what waits, but for so many last characters: a secret that comes in pieces is only known whole."""
        for thinking, waiting in self._waiting.items():
            text = plain(waiting)
            cut = len(text) - held_back(text)
            if cut:
                self._record(Spoke(call=self._call, text=text[:cut], thinking=thinking))
            self._waiting[thinking] = text[cut:]
        self._last = time.perf_counter()


def _text(message: BaseMessage) -> str:
    return message.text if isinstance(message.text, str) else str(message.text)


def _thinking(message: BaseMessage) -> str:
    return str(message.additional_kwargs.get("reasoning_content") or "")


def _message(message: BaseMessage) -> Message:
    """A message as the journal keeps it."""
    match message:
        case AIMessage():
            calls = tuple(
                ToolCall(name=c["name"], arguments=json.dumps(c["args"]), id=c["id"] or "") for c in message.tool_calls
            )
            return Message(role="ai", text=_text(message), calls=calls)
        case ToolMessage():
            return Message(role="tool", text=_text(message), answers=message.tool_call_id)
        case SystemMessage():
            return Message(role="system", text=_text(message))
        case _:
            return Message(role="human", text=_text(message))


def _spoken(answer: Answered) -> AIMessage:
    """An answer as a message; arguments that are no JSON object become an invalid call, for whoever asks to mend it."""
    good, bad = [], []
    for call in answer.calls:
        arguments = arguments_in(call.arguments)
        if arguments is None:
            bad.append({"name": call.name, "args": call.arguments, "id": call.id, "error": "the arguments are no JSON"})
        else:
            good.append({"name": call.name, "args": arguments, "id": call.id})
    return AIMessage(content=answer.text, tool_calls=good, invalid_tool_calls=bad)


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def _passes(error: BaseException) -> bool:
    """Whether the same question may be answered a little later: not where the key or the model's name is wrong."""
    if isinstance(error, SecateurError) or not isinstance(error, Exception):
        return False
    status = _status(error)
    return status is None or status in _WORTH_ANOTHER_TRY or status >= 500


def _said(error: BaseException | None) -> str:
    """An error as part of one line."""
    if error is None:
        return "no answer"
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"
