"""A chat model whose every call is journalled, limited, and tried again where that can help.

What the journal already answers is not asked again: a resumed run goes on in the middle of a conversation, and a run
can be replayed from its journal without any model.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from pydantic import ConfigDict, Field
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from agent.llm.connection import CallFormat, Connection
from agent.llm.held_back import parted
from agent.llm.leaving import LOOK, CutOff, Left, Stopped, leaving
from agent.llm.messages import as_message, calls_of, for_journal, text_of, thinking_of
from agent.llm.plain_calls import call_schema, calls_in, without_calls
from agent.llm.speech import Speech
from runs.budget import BudgetSpent
from runs.events import Answered, Asked, Note
from runs.messages import ToolCall
from tools.io.errors import SecateurError

WAIT = wait_exponential_jitter(initial=1, max=30)
_WORTH_ANOTHER_TRY = frozenset({408, 409, 425, 429})
_NO_TOOLS_HERE = frozenset({400, 404, 405, 422, 501})


class Unusable(SecateurError):
    """The model does not answer, and trying again did not help."""


class JournalledModel(BaseChatModel):
    """One conversation over a `Connection`; its calls are `topic/1`, `topic/2`, and so on."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    connection: Connection
    topic: str
    tools: tuple[Any, ...] = ()
    choice: Any = None
    described: dict[str, Any] = Field(default_factory=dict)
    """Every tool that was on the table so far: in text they stay described, so that the text keeps its beginning."""
    asked: list[int] = Field(default_factory=list)
    """Messages that each call so far had."""

    @property
    def _llm_type(self) -> str:
        return "journalled"

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
        call = f"{self.topic}/{len(self.asked) + 1}"
        answer = self.connection.record.history.answers.get(call) or self._recorded(call, messages)
        self.asked.append(len(messages))
        if answer.problem:
            raise Unusable(answer.problem)
        return ChatResult(generations=[ChatGeneration(message=as_message(answer))])

    def _recorded(self, call: str, messages: list[BaseMessage]) -> Answered:
        """Ask, and have the journal keep question and answer; of the question only what is new."""
        connection = self.connection
        fresh = tuple(for_journal(message) for message in messages[self.asked[-1] if self.asked else 0 :])
        tools = tuple(tool.name for tool in self.tools)
        connection.record(Asked(call=call, model=connection.name, messages=fresh, tools=tools))
        answer = connection.known.get(call) or self._ask(call, messages)
        connection.record(answer)
        return answer

    def _ask(self, call: str, messages: list[BaseMessage]) -> Answered:
        """Ask the model, again and otherwise where that can help; a problem that stays is an answer too."""
        connection = self.connection
        if connection.model is None:
            return Answered(call=call, problem=f"the replayed run holds no answer to {call}")
        connection.record.ledger.check()
        start = time.perf_counter()
        try:
            whole = self._retrying()(self._listen, call, messages)
        except (BudgetSpent, Stopped, CutOff):
            raise
        except Exception as error:  # whatever a server or its client trips over, or a model in this process
            taken = round(time.perf_counter() - start, 3)
            return Answered(call=call, problem=f"{connection.name} is unusable: {_said(error)}", seconds=taken)
        return self._answered(call, messages, whole, time.perf_counter() - start)

    def _retrying(self) -> Retrying:
        return Retrying(
            stop=stop_after_attempt(self.connection.attempts),
            wait=WAIT,
            retry=retry_if_exception(_passes),
            before_sleep=self._told,
            sleep=self._pause,
            reraise=True,
        )

    def _pause(self, seconds: float) -> None:
        """Wait before another try; who says stop does not wait."""
        connection, end = self.connection, time.monotonic() + seconds
        with connection.waiting():
            while (left := end - time.monotonic()) > 0 and not connection.stopped():
                time.sleep(min(LOOK, left))

    def _told(self, state: RetryCallState) -> None:
        connection, error = self.connection, state.outcome.exception() if state.outcome else None
        wait = state.next_action.sleep if state.next_action else 0.0
        connection.record(Note(text=f"{connection.name}: {_said(error)}; again in {wait:.0f} s"))
        connection.record.ledger.check()

    def _listen(self, call: str, messages: list[BaseMessage]) -> AIMessageChunk:
        """Stream one answer to its end, or to where it is long enough."""
        connection = self.connection
        while True:
            asked = connection.formats[0]
            try:
                return self._stream_whole(call, *self._table(messages))
            except Exception as error:
                if not self.tools or _status(error) not in _NO_TOOLS_HERE:
                    raise
                if asked is connection.formats[0]:  # else another conversation has gone on to the next meanwhile
                    if len(connection.formats) < 2:
                        raise
                    connection.plainer(f"knows no {asked} ({_said(error)})")

    def _table(self, messages: list[BaseMessage]) -> tuple[list[BaseMessage], Any]:
        """What is sent to which model, so that it can call the tools in the format that it knows."""
        connection = self.connection
        model, calls = connection.model, connection.formats[0]
        assert model is not None
        if not self.tools:
            return messages, model
        if calls is CallFormat.NATIVE:
            more = {} if self.choice is None else {"tool_choice": self.choice}
            return messages, model.bind_tools(list(self.tools), **more)
        held = {"extra_body": {"response_format": call_schema(self.tools)}} if calls is CallFormat.SCHEMA else {}
        return without_calls(messages, list(self.described.values()), words=connection.words), model.bind(**held)

    def _stream_whole(self, call: str, messages: list[BaseMessage], model: Any) -> AIMessageChunk:
        connection, whole = self.connection, None
        speech = Speech(call, connection.record, known=self._known, every=connection.every)
        pieces = leaving(model.stream(messages), connection.patience, connection.stopped, connection.longest)
        try:
            for chunk in self._waited(pieces):
                whole = chunk if whole is None else whole + chunk
                speech.hear(chunk)
                if (endless := speech.endless) or speech.circling:
                    what = "did not stop" if endless else "went in circles"
                    connection.record(Note(text=f"{connection.name} {what} and was cut off"))
                    break
        except Left as left:
            if connection.longest is not None and (said := self._words_of(whole)):
                speech.end()
                raise CutOff(said, str(left)) from left
            raise
        speech.end()
        return AIMessageChunk(content="") if whole is None else whole

    def _words_of(self, whole: AIMessageChunk | None) -> str:
        """What is said in an answer beside its calls."""
        return "" if whole is None else parted(text_of(whole), self._known, whole=True)[0].strip()

    def _waited(self, stream: Iterator[AIMessageChunk]) -> Iterator[AIMessageChunk]:
        """A stream whose pieces are waited for while others have their turn."""
        while True:
            with self.connection.waiting():
                chunk = next(stream, None)
            if chunk is None:
                return
            yield chunk

    def _answered(self, call: str, messages: list[BaseMessage], whole: AIMessageChunk, seconds: float) -> Answered:
        text, thinking = text_of(whole), thinking_of(whole)
        calls = self._called(call, text, whole)
        text, _ = parted(text, self._known, whole=True)
        read, written = self._tokens(messages, whole, thinking)
        return Answered(
            call=call,
            text=text,
            thinking=thinking,
            calls=tuple(calls),
            tokens_in=read,
            tokens_out=written,
            money=self.connection.cost(read, written),
            seconds=round(seconds, 3),
        )

    @property
    def _known(self) -> frozenset[str]:
        """The tools on the table."""
        return frozenset(tool.name for tool in self.tools)

    def _called(self, call: str, text: str, whole: AIMessageChunk) -> list[ToolCall]:
        """The calls of an answer: its own, or else those in its text."""
        native = calls_of(whole, call)
        if not self.tools:
            return native
        calls = native or calls_in(text, self._known, call)
        self.connection.heard(native=bool(native), text=bool(calls))
        return calls

    def _tokens(self, messages: list[BaseMessage], whole: AIMessageChunk, thinking: str) -> tuple[int, int]:
        """Read and written."""
        if usage := whole.usage_metadata:
            return usage["input_tokens"], usage["output_tokens"]
        self.connection.guessed()  # cut off before the server said it, or it never does
        return count_tokens_approximately(messages), count_tokens_approximately([whole, thinking])


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
