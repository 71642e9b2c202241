"""A network writes under a grammar: of the tokens that it finds likely, only those that the grammar allows.

One forward pass per chosen token over a cache of keys and values; what the grammar leaves no choice about is not asked
for, and costs one pass for as many tokens as there are. llguidance knows which tokens may come next. A conversation
grows at its end, so the part of a prompt that the last one began with too is not read again.
"""

from __future__ import annotations

import codecs
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from tools.io.errors import SecateurError, reason

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn: the same seed, prompt and grammar give the same text."""

    temperature: float = 0.8
    """0 takes the likeliest."""
    top_p: float = 0.95
    """Share of the probability that the tokens to draw from have together, the likeliest first."""
    seed: int = 0


@dataclass
class _Read:
    """The tokens that a network has read, and what it keeps of them: keys and values."""

    tokens: list[int] = field(default_factory=list)
    states: Any = None


class Decoder:
    """A network with its tokenizer, ready to write."""

    def __init__(self, name: str, network: Any, tokenizer: Any) -> None:
        """Read the vocabulary, which takes up to a second.

        Raises:
            SecateurError: the tokenizer is of a kind that llguidance cannot read.
        """
        from llguidance.hf import from_tokenizer

        self.name = name
        self.network = network
        self._last = _Read()
        ends = network.generation_config.eos_token_id or tokenizer.eos_token_id
        size = max(len(tokenizer), network.get_output_embeddings().weight.shape[0])
        try:
            self.vocabulary = from_tokenizer(tokenizer, n_vocab=size, eos_token=ends)
        except ValueError as error:
            problem = f"its tokenizer is unusual ({reason(error)})"
            raise SecateurError(f"{name} cannot write under a grammar: {problem}") from error

    def write(self, prompt: Sequence[int], grammar: str, sampling: Sampling, most: int) -> Iterator[tuple[int, str]]:
        """What the network writes after a prompt, as it comes: number of tokens and their text, which may be empty.

        Args:
            prompt: tokens, at least one.
            grammar: in llguidance's dialect of Lark.
            sampling: how tokens are drawn.
            most: tokens after which writing ends, complete or not; see `Grammar.longest`.

        Raises:
            SecateurError: the grammar is refused, or the network's logits are not finite.
        """
        import torch

        matcher = self._matcher(grammar)
        generator = torch.Generator().manual_seed(sampling.seed)
        text = codecs.getincrementaldecoder("utf-8")(errors="replace")
        read = self._remembered(prompt)
        pending, written = list(prompt[len(read.tokens) :]), 0
        while written < most and not matcher.is_stopped():
            tokens = matcher.compute_ff_tokens()[: most - written]
            if not tokens:
                logits = self._forward(pending, read)
                tokens, pending = [self._draw(logits, matcher.compute_logit_bias(), sampling, generator)], []
            if not matcher.consume_tokens(tokens):
                raise SecateurError(f"{self.name} cannot go on writing: {matcher.get_error()}")
            if tokens[0] in self.vocabulary.eos_tokens:
                break
            pending += tokens
            written += len(tokens)
            yield len(tokens), text.decode(self.vocabulary.decode_bytes(tokens))
        self._last = read

    def _remembered(self, prompt: Sequence[int]) -> _Read:
        """The beginning of a prompt that was read already; its last token is always read anew, for its logits."""
        from transformers.cache_utils import DynamicLayer

        read, self._last = self._last, _Read()  # whoever writes at the same time reads for himself
        pairs = zip(read.tokens, prompt[:-1], strict=False)
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        surplus = len(read.tokens) - shared
        # Other layers, with a sliding window for example, cannot go back.
        if not shared or not all(type(layer) is DynamicLayer for layer in read.states.layers):
            return _Read()
        if surplus:
            read.states.crop(-surplus)
        return _Read(read.tokens[:shared], read.states)

    def _matcher(self, grammar: str) -> Any:
        from llguidance import LLMatcher

        matcher = LLMatcher(self.vocabulary, LLMatcher.grammar_from_lark(grammar))
        if matcher.is_error():
            problem = reason(ValueError(matcher.get_error()))
            raise SecateurError(f"{self.name} cannot write under a grammar: {problem}")
        return matcher

    def _forward(self, tokens: Sequence[int], read: _Read) -> Tensor:
        """The logits (vocabulary,) of the token after `tokens`, which are read on the way."""
        import torch

        last = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(self.network.forward).parameters else {}
        ids = torch.tensor([list(tokens)], device=self.network.device)
        with torch.inference_mode():
            output = self.network(input_ids=ids, past_key_values=read.states, use_cache=True, **last)
        read.tokens += tokens
        read.states = output.past_key_values
        logits: Tensor = output.logits[0, -1]
        return logits.float().cpu()

    def _draw(self, logits: Tensor, allowed: bytes, sampling: Sampling, generator: Any) -> int:
        import torch

        if not logits.isfinite().all():
            raise SecateurError(f"{self.name} cannot write: its logits are not finite")
        mask = torch.frombuffer(bytearray(allowed), dtype=torch.uint8)[: len(logits)] > 0
        logits = logits[: len(mask)].masked_fill(~mask[: len(logits)], -torch.inf)
        if sampling.temperature == 0:
            return int(logits.argmax())
        shares, order = (logits / sampling.temperature).softmax(-1).sort(descending=True, stable=True)
        # The likeliest token always stays, whatever the share.
        shares[1:][shares.cumsum(-1)[:-1] >= sampling.top_p] = 0.0
        return int(order[torch.multinomial(shares, 1, generator=generator)])
