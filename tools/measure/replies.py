"""Talking to a model: a line, its answer, and the lines and answers before them, which it reads again.

It is asked in its chat template. A model without one only continues texts, so it reads all that was said as one text.
Answers are greedy, as continuations are: two models are told apart by their weights and not by chance.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tools.io.errors import SecateurError, reason
from tools.measure.generate import ends_of, following, likeliest
from tools.model.checkpoint import Model
from tools.model.positions import positions, require_positions
from tools.text.windows import begin_of

LONGEST = 4096
"""Tokens that are read again before each answer at most, whatever the model could read."""
HALF = "\ufffd"
"""What a decoder writes for a character of which only a part is there yet."""


@dataclass(frozen=True)
class Reply:
    """What a model answered to one line."""

    text: str
    tokens: int
    seconds: float
    forgotten: int
    """Earlier lines, with their answers, that did not fit any more."""
    stopped: bool
    """Whether the person broke it off."""


@dataclass
class Listener:
    """A model that is talked to, with what was said."""

    model: Model
    new: int
    """Tokens of an answer at most."""
    said: list[tuple[str, str]] = field(default_factory=list)
    """Lines and answers."""

    @property
    def chats(self) -> bool:
        """Whether it has a template to be asked in."""
        return bool(self.model.tokenizer.chat_template)

    def reply(self, line: str, hear: Callable[[str], None], stopped: Callable[[], bool]) -> Reply:
        """Its answer, which `hear` gets in pieces while it is written.

        Raises:
            SecateurError: the line is too long for the model, or its logits are not numbers.
        """
        start, before = time.perf_counter(), len(self.said)
        ids, text, written = self._fitting(line), "", list[int]()
        ends, broken = self._ends(), stopped()
        try:
            for token in () if broken else likeliest(self.model.network, ids, self.new, ends):
                if token not in ends:
                    written.append(token)
                    text = self._heard(ids, written, text, hear)
                if broken := stopped():
                    break
        except Exception as error:  # whatever a strange model trips over when it is read on from its cache
            raise SecateurError(f"{self.model.name} cannot answer: {reason(error)}") from error
        whole = following(self.model, ids, written)
        hear(whole[len(text) :])
        forgotten = before - len(self.said)
        self.said.append((line, whole))
        return Reply(whole.strip(), len(written), time.perf_counter() - start, forgotten, broken)

    def _heard(self, ids: list[int], written: list[int], text: str, hear: Callable[[str], None]) -> str:
        """Hand on what the last token added; half a character waits for its other half."""
        whole = following(self.model, ids, written)
        if whole.endswith(HALF) or not whole.startswith(text):
            return text
        hear(whole[len(text) :])
        return whole

    def _ends(self) -> frozenset[int]:
        own = self.model.tokenizer.eos_token_id
        return ends_of(self.model.network) | ({own} if isinstance(own, int) else frozenset())

    def _fitting(self, line: str) -> list[int]:
        """The tokens to read; the oldest lines are forgotten until all fits."""
        limit = positions(self.model.config)
        room = LONGEST if limit is None else min(LONGEST, limit.count)
        while len(ids := self._ids(line)) + self.new > room and self.said:
            del self.said[0]
        require_positions(self.model.name, self.model.config, len(ids), self.new, "a line")
        return ids

    def _ids(self, line: str) -> list[int]:
        tokenizer: Any = self.model.tokenizer
        if not self.chats:
            text = "\n".join([*(f"{said}{answer}" for said, answer in self.said), line])
            return [*begin_of(self.model)[0], *tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]]
        turns = [
            {"role": role, "content": text}
            for pair in [*self.said, (line, "")]
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
        try:
            asked = tokenizer.apply_chat_template(turns[:-1], add_generation_prompt=True, return_dict=True)
        except Exception as error:  # a template is a program of the model's maker
            raise SecateurError(f"{self.model.name}: its chat template fails: {reason(error)}") from error
        return list(asked["input_ids"])
