"""An answer while it is being spoken: it goes to the journal in pieces, and is cut off where it does not end."""

from __future__ import annotations

import time
from collections.abc import Callable

from langchain_core.messages import AIMessageChunk

from agent.llm.messages import text_of, thinking_of
from runs.events import Spoke
from runs.plain import plain
from runs.secrets import unfinished

LONGEST_ANSWER = 24_000
"""Characters after which an answer is cut off: a model that does not stop is stopped."""
LONGEST_SECONDS = 600.0
PASSAGE, CIRCLES = 60, 8
"""Characters that, said so many times, end an answer."""
PIECE_SECONDS = 0.25
"""Speech goes to the journal in pieces of this length."""


class Speech:
    """Hands what is being said to the journal, a few times a second."""

    def __init__(self, call: str, record: Callable[[Spoke], None]) -> None:
        self._call, self._record = call, record
        self._waiting: dict[bool, str] = {True: "", False: ""}
        self._start = self._last = time.perf_counter()
        self._said = ""

    @property
    def endless(self) -> bool:
        """Whether it is long enough, in characters or in time."""
        return len(self._said) > LONGEST_ANSWER or time.perf_counter() - self._start > LONGEST_SECONDS

    @property
    def circling(self) -> bool:
        """Whether the last passage was said many times before, as small models do who find no end."""
        last = self._said[-PASSAGE:]
        return len(last) == PASSAGE and self._said.count(last) >= CIRCLES

    def hear(self, chunk: AIMessageChunk) -> None:
        """Take in what came; what is due goes to the journal."""
        for thinking, text in ((True, thinking_of(chunk)), (False, text_of(chunk))):
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
