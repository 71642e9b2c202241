"""A network writes under a grammar: of the tokens that it finds likely, only those that the grammar allows.

One forward pass per chosen token over a cache of keys and values; what the grammar leaves no choice about is not asked
for, and costs one pass for as many tokens as there are. llguidance knows which tokens may come next.
"""

from __future__ import annotations

import codecs
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tools.edges import reason
from tools.errors import SecateurError

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
        cache: Any = None
        pending, written = list(prompt), 0
        while written < most and not matcher.is_stopped():
            tokens = matcher.compute_ff_tokens()[: most - written]
            if not tokens:
                logits, cache = self._forward(pending, cache)
                tokens, pending = [self._draw(logits, matcher.compute_logit_bias(), sampling, generator)], []
            if not matcher.consume_tokens(tokens):
                raise SecateurError(f"{self.name} cannot go on writing: {matcher.get_error()}")
            if tokens[0] in self.vocabulary.eos_tokens:
                break
            pending += tokens
            written += len(tokens)
            yield len(tokens), text.decode(self.vocabulary.decode_bytes(tokens))

    def _matcher(self, grammar: str) -> Any:
        from llguidance import LLMatcher

        matcher = LLMatcher(self.vocabulary, LLMatcher.grammar_from_lark(grammar))
        if matcher.is_error():
            problem = reason(ValueError(matcher.get_error()))
            raise SecateurError(f"{self.name} cannot write under a grammar: {problem}")
        return matcher

    def _forward(self, tokens: Sequence[int], cache: Any) -> tuple[Tensor, Any]:
        """The logits (vocabulary,) of the next token, and the cache that knows `tokens` too."""
        import torch

        last = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(self.network.forward).parameters else {}
        ids = torch.tensor([list(tokens)], device=self.network.device)
        with torch.inference_mode():
            output = self.network(input_ids=ids, past_key_values=cache, use_cache=True, **last)
        return output.logits[0, -1].float().cpu(), output.past_key_values

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
