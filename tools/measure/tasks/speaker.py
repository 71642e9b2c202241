"""A model that answers lm-eval's requests, batch by batch.

The arithmetic is lm-eval's own (`HFLM`); added are what its users trip over: BOS as the model's family wants it and
never scored itself, refusal in place of a silently cut prompt, logits of answers only, batches that are kept as soon as
they are computed, and a size of batches that is found by trying.
"""

from __future__ import annotations

import copy
import inspect
import logging
import math
import time
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from tools.io.errors import SecateurError
from tools.model.positions import positions
from tools.model.room import free_memory
from tools.text.windows import begin_of

if TYPE_CHECKING:
    from tools.model.checkpoint import Model

ROLLING_WINDOW = 2048
"""Tokens of a window where whole texts are scored, at most."""
ENDLESS = 10**6
"""Tokens that a model without a limit may read."""
MOST_TOKENS = 16_384
"""Tokens of a batch at most."""
GAIN = 1.08
"""By how much tokens per second must rise for batches to be doubled once more."""
_FREE = 0.5
"""Share of the free memory that a batch may take by its logits."""

Pair = tuple[list[int], list[int]]
"""Token ids of a context and of its continuation."""


class Speaker:
    """Answers requests with one model, in the order of batches that `batches` says."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._lm = _language_model(model)
        self._pairs: dict[tuple[str, str], Pair] = {}
        self._lengths: dict[str, int] = {}
        """Tokens of prompts: each is encoded once, however often its length is asked for."""

    @property
    def model(self) -> Model:
        """The model that answers."""
        return self._model

    def tokens(self, kind: str, request: Sequence[Any]) -> int:
        """Tokens that a request takes through the model, about."""
        if kind == "loglikelihood":
            context, continuation = self._pair(request)
            return len(context) + len(continuation) - 1
        if request[0] not in self._lengths:
            self._lengths[request[0]] = len(self._lm.tok_encode(request[0]))
        return self._lengths[request[0]] + (self._room(request) if kind == "generate_until" else 0)

    def check(self, task: str, kind: str, requests: Sequence[Sequence[Any]]) -> None:
        """Refuse what the model cannot read whole.

        Raises:
            SecateurError: a prompt is longer than the model's positions, or nothing is to be scored.
        """
        for request in requests:
            if len(request) > 2:
                raise SecateurError(f"{task} asks about pictures or sounds, which a text model cannot answer")
            if kind == "loglikelihood" and not self._pair(request)[1]:
                raise SecateurError(f"{task}: an answer has no tokens of its own, so it cannot be scored")
        found = positions(self._model.config)
        if kind == "loglikelihood_rolling":
            self._start()
        if found is None or kind == "loglikelihood_rolling":
            return
        longest = max(self.tokens(kind, request) for request in requests)
        if longest > found.count:
            raise SecateurError(
                f"{task}: a prompt with its answer has {longest:,} tokens, and {self._model.name} has {found.count:,} "
                "positions: give fewer --shots, or leave the task out"
            )

    def batches(self, kind: str, requests: Sequence[Sequence[Any]], batch_tokens: int) -> list[list[int]]:
        """Places of the requests that go through the model together: the longest first, about as many tokens each."""
        if kind == "loglikelihood":
            pairs = [self._pair(request) for request in requests]
            return list(_filled(_alike(pairs), [len(a) + len(b) - 1 for a, b in pairs], batch_tokens))
        lengths = [self.tokens(kind, request) for request in requests]
        order = sorted(range(len(requests)), key=lambda i: (-lengths[i], i))
        if kind == "loglikelihood_rolling":
            return list(_filled([[i] for i in order], [min(n, self._lm.rolling) for n in lengths], batch_tokens))
        groups: dict[str, list[int]] = {}
        for place in order:
            groups.setdefault(repr(requests[place][1]), []).append(place)
        return [batch for same in groups.values() for batch in _filled([[i] for i in same], lengths, batch_tokens)]

    def answer(self, kind: str, requests: Sequence[Sequence[Any]], batch_tokens: int) -> list[Any]:
        """Answer one batch; where the device's memory is too small for it, in two halves."""
        try:
            return self._numbers(self._answer(kind, requests, batch_tokens))
        except torch.OutOfMemoryError:
            if len(requests) == 1:
                raise SecateurError("one request alone does not fit into memory: use --dtype bfloat16") from None
            torch.cuda.empty_cache()
            half = len(requests) // 2
            first = self.answer(kind, requests[:half], batch_tokens)
            return first + self.answer(kind, requests[half:], batch_tokens)

    def _numbers(self, answers: list[Any]) -> list[Any]:
        """The answers; of log-likelihoods that are none, lm-eval would count the first choice."""
        values = [answer[0] if isinstance(answer, list) else answer for answer in answers]
        if any(isinstance(value, float) and math.isnan(value) for value in values):
            of = self._model
            raise SecateurError(f"{of.name} computes what is no number (NaN) in {of.dtype}: use --dtype float32")
        return answers

    def chat(self, messages: list[dict[str, str]], opens: bool) -> str:
        """Raises SecateurError where the model has no chat template."""
        if not self._model.tokenizer.chat_template:
            raise SecateurError(f"{self._model.name} has no chat template: leave --chat out")
        return str(self._lm.apply_chat_template(messages, add_generation_prompt=opens))

    def batch_tokens(self, longest: int) -> int:
        """Tokens that go through together best: doubled while that makes them faster and memory surely suffices.

        Args:
            longest: tokens of the longest request.
        """
        length = max(1, min(longest, self._lm.max_length))
        row = torch.zeros((1, length), dtype=torch.long, device=self._model.device)
        self._lm.forward(row, keep=1)  # warms up
        best, rate, count = 1, 0.0, 1
        while count * length <= max(length, MOST_TOKENS) and self._fits(count * length):
            try:
                start = time.perf_counter()
                self._lm.forward(row.expand(count, -1).contiguous(), keep=1).sum().item()
                now = count * length / (time.perf_counter() - start)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                break
            if now < GAIN * rate:
                break
            best, rate, count = count, now, 2 * count
        return int(best * length)

    def rate(self, tokens: int) -> float:
        """Tokens per second, of a batch of so many."""
        length = min(tokens, 128, self._lm.max_length)
        rows = torch.zeros((max(1, tokens // length), length), dtype=torch.long, device=self._model.device)
        start = time.perf_counter()
        self._lm.forward(rows, keep=8).sum().item()
        return float(rows.numel() / (time.perf_counter() - start))

    def _fits(self, tokens: int) -> bool:
        vocabulary = self._model.config.get_text_config().vocab_size
        return bool(tokens * vocabulary * 8 <= _FREE * free_memory(self._model.device))

    def _pair(self, request: Sequence[Any]) -> Pair:
        key = (request[0], request[1])
        if key not in self._pairs:
            self._pairs[key] = self._encoded(*key)
        return self._pairs[key]

    def _encoded(self, context: str, continuation: str) -> Pair:
        if context.strip():
            pair: Pair = self._lm._encode_pair(context, continuation)
            return pair
        tokens = self._lm.tok_encode(context + continuation, add_special_tokens=False)
        start = self._start()
        return ([start], tokens) if tokens[:1] != [start] else (tokens[:1], tokens[1:])

    def _start(self) -> int:
        """What a text is scored after."""
        start: int | None = self._lm.prefix_token_id
        if start is None:
            raise SecateurError(f"{self._model.name} has neither BOS nor EOS to begin a text with")
        return start

    def _room(self, request: Sequence[Any]) -> int:
        """Tokens that an answer may have."""
        asked = request[1].get("max_gen_toks", request[1].get("max_new_tokens", self._lm.max_gen_toks))
        return int(asked)

    def _answer(self, kind: str, requests: Sequence[Sequence[Any]], batch_tokens: int) -> list[Any]:
        lm = self._lm
        lm.batch_size_per_gpu = max(len(requests), batch_tokens // lm.rolling)
        if kind == "loglikelihood":
            ready = [((request[0], request[1]), *self._pair(request)) for request in requests]
            return [list(answer) for answer in lm._loglikelihood_tokens(ready)]
        instances = _instances(kind, requests)
        if kind == "loglikelihood_rolling":
            return list(lm.loglikelihood_rolling(instances, disable_tqdm=True))
        with torch.random.fork_rng():  # tasks that draw words draw the same ones again, whatever was answered before
            torch.manual_seed(zlib.crc32(repr(requests).encode()))
            return list(lm.generate_until(instances, disable_tqdm=True))


def _alike(pairs: Sequence[Pair]) -> list[list[int]]:
    """Places by what goes through the model, the longest first: answers of one token each share a forward pass."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, (context, continuation) in enumerate(pairs):
        groups.setdefault(tuple(context + continuation[:-1]), []).append(place)
    return [groups[key] for key in sorted(groups, key=lambda key: (-len(key), key))]


def _filled(groups: Sequence[Sequence[int]], lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Batches of about so many tokens; of each group one member goes through the model, padded to the longest."""
    batch: list[int] = []
    rows, width = 0, 0
    for group in groups:
        length = lengths[group[0]]
        if batch and (rows + 1) * max(width, length) > batch_tokens:
            yield batch
            batch, rows, width = [], 0, 0
        batch.extend(group)
        rows, width = rows + 1, max(width, length)
    if batch:
        yield batch


def _instances(kind: str, requests: Sequence[Sequence[Any]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, tuple(copy.deepcopy(request)), 0, ("", 0, 1)) for request in requests]


def _language_model(model: Model) -> Any:
    """lm-eval's class around an opened network, with the network left as it is."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from lm_eval.models.huggingface import HFLM

    takes_rows = "logits_to_keep" in inspect.signature(model.network.forward).parameters
    limit = positions(model.config)

    class Held(HFLM):  # type: ignore[misc]
        """HFLM with our beginnings and our bars."""

        def __init__(self) -> None:
            longest = ENDLESS if limit is None else limit.count
            super().__init__(
                pretrained=model.network,
                tokenizer=copy.deepcopy(model.tokenizer),  # it is given a padding token
                backend="causal",
                max_length=longest,
            )
            self.begin: list[int] = begin_of(model)[0]
            self.rolling = min(longest, ROLLING_WINDOW)
            self._whole_text = False
            self._keep: int | None = None

        @property
        def prefix_token_id(self) -> int:
            return self.begin[-1] if self.begin else super().prefix_token_id

        @property
        def max_length(self) -> int:
            return self.rolling if self._whole_text else int(self._max_length)

        def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
            ids: list[int] = self.tokenizer.encode(string, add_special_tokens=False, verbose=False)
            if add_special_tokens is False or self._whole_text or ids[: len(self.begin)] == self.begin:
                return ids
            return self.begin + ids

        def tok_batch_encode(self, strings: Sequence[str], **_: Any) -> tuple[torch.Tensor, torch.Tensor]:
            rows = [self.tok_encode(string) for string in strings]
            width = max(map(len, rows))
            pad = self.tokenizer.pad_token_id
            ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
            mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
            return ids, mask

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = True) -> list[float]:
            self._whole_text = True  # BOS before a text is what its first window reads, not what it scores
            try:
                found: list[float] = super().loglikelihood_rolling(requests, disable_tqdm=True)
                return found
            finally:
                self._whole_text = False

        def _loglikelihood_tokens(self, requests: Any, **more: Any) -> list[tuple[float, bool]]:
            reads = [len(context) + len(continuation) - 1 for _, context, continuation in requests]
            first = min(n - len(c) for n, (_, _, c) in zip(reads, requests, strict=True))
            self._keep = max(reads) - first
            # Of requests that read the same tokens, lm-eval scores the shorter answers by the rows of the longest.
            lengths: dict[tuple[int, ...], set[int]] = {}
            for _, context, continuation in requests:
                lengths.setdefault(tuple(context + continuation[:-1]), set()).add(len(continuation))
            self.logits_cache = all(len(of) == 1 for of in lengths.values())
            found: list[tuple[float, bool]] = super()._loglikelihood_tokens(
                requests, disable_tqdm=True, override_bs=more.get("override_bs")
            )
            return found

        def _model_call(self, inps: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
            # A batch of fewer rows than were given (answers that share a pass) may be shorter than the longest.
            return self.forward(inps, self._keep)

        def forward(self, ids: torch.Tensor, keep: int | None) -> torch.Tensor:
            rows = {"logits_to_keep": keep} if takes_rows and keep else {}
            with torch.inference_mode():
                logits: torch.Tensor = self.model(ids, use_cache=False, **rows).logits
            return logits.float()

    return Held()
