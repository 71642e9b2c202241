"""An answer while it is being spoken: it goes to the journal in pieces, without the calls that are written into it, and
is cut off where it does not end."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from langchain_core.messages import AIMessageChunk

from agent.llm.held_back import parted
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
    """Hands what is being said to the journal: the first words at once, what follows a few times a second."""

    def __init__(
        self,
        call: str,
        record: Callable[[Spoke], None],
        *,
        known: Collection[str] = (),
        every: float | None = None,
    ) -> None:
        """`known`: tools whose calls in the text are not said. `every`: seconds between pieces."""
        self._call, self._record = call, record
        self._known, self._every = known, PIECE_SECONDS if every is None else every
        self._waiting: dict[bool, str] = {True: "", False: ""}
        self._start, self._last = time.perf_counter(), 0.0
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
        if any(self._waiting.values()) and time.perf_counter() - self._last >= self._every:
            self._flush(whole=False)

    def end(self) -> None:
        """Hand on what still waits."""
        self._flush(whole=True)

    def _flush(self, *, whole: bool) -> None:
        """Hand on what waits, unless something follows that may make a call or a secret of its end."""
        for thinking, waiting in self._waiting.items():
            text = plain(waiting)
            said, rest = (text, "") if thinking else parted(text, self._known, whole=whole)
            cut = len(said) - (0 if whole else unfinished(said))
            if cut:
                self._record(Spoke(call=self._call, text=said[:cut], thinking=thinking))
            self._waiting[thinking] = said[cut:] + rest
        self._last = time.perf_counter()
