"""Continue prompts greedily: what a person reads of two models to see what pruning did to one.

The next token is always the one with the largest logit. What the checkpoint's generation_config says of sampling and
penalties is not asked; only which tokens end a text is read there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import torch

from tools.io.errors import SecateurError, reason
from tools.io.hardware import hardware_of
from tools.measure.continuation import Continuation, ContinuationProtocol
from tools.measure.step import step
from tools.model.checkpoint import Model
from tools.model.positions import require_positions
from tools.recipe.measurement import libraries
from tools.text.windows import Reads, Windows, begin_of

PROMPTS, PROMPT_TOKENS, NEW_TOKENS = 3, 32, 32
"""What a run shows of its result: so many windows' first tokens, and so many new ones after each."""


def continuations(
    model: Model, prompts: Sequence[str], new: int, begin: Callable[[int], None] = lambda number: None
) -> tuple[Continuation, ...]:
    """What the model writes after each prompt.

    Args:
        new: tokens at most, at least 1; an EOS token of the model ends a continuation before.
        begin: is told the number of each prompt, from 1 on, before it is read.

    Raises:
        SecateurError: see `prompt_tokens`; or the model does not decode, or its logits are not numbers.
    """
    read, ends, found = prompt_tokens(model, prompts, new), ends_of(model.network), []
    for number, (prompt, ids) in enumerate(zip(prompts, read, strict=True), start=1):
        begin(number)
        start = time.perf_counter()
        try:
            written = greedy(model.network, ids, new, ends)
        except Exception as error:  # whatever a strange model trips over when it is read on from its cache
            raise SecateurError(f"{model.name} cannot continue prompt {number}: {reason(error)}") from error
        seconds = time.perf_counter() - start
        text = following(model, ids, written[:-1] if written[-1] in ends else written)
        found.append(Continuation(prompt=prompt, text=text, tokens=len(written), seconds=seconds))
    return tuple(found)


def protocol(model: Model, new: int) -> ContinuationProtocol:
    """How continuations of the model come about."""
    return ContinuationProtocol(
        new=new,
        begin=begin_of(model)[1],
        dtype=model.dtype,
        device=model.device,
        hardware=hardware_of(model.device),
        threads=torch.get_num_threads(),
        libraries=libraries(),
    )


def prompt_tokens(of: Reads, prompts: Sequence[str], new: int) -> list[list[int]]:
    """The tokens of each prompt, after what the model's texts begin with; that is not put before a prompt which begins
    with it by itself.

    Raises:
        SecateurError: there are no prompts, one is empty, or with `new` tokens it has more than the model positions.
    """
    if not prompts:
        raise SecateurError("there is no prompt to continue")
    begin, found = begin_of(of)[0], []
    for number, prompt in enumerate(prompts, start=1):
        ids = of.tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]
        if not ids:
            raise SecateurError(f"prompt {number} is empty: there is nothing to continue")
        found.append(ids if ids[: len(begin)] == begin else begin + ids)
        require_positions(of.name, of.config, len(found[-1]), new, f"prompt {number}")
    return found


def openings(of: Reads, windows: Windows) -> tuple[str, ...]:
    """The texts that the first windows open with, to be continued."""
    start = len(begin_of(of)[0])
    return tuple(_text(of, row) for row in windows.ids[:PROMPTS, start : start + PROMPT_TOKENS].tolist())


def ends_of(network: Any) -> frozenset[int]:
    """The EOS tokens: those that the generation_config names, or else the configuration."""
    for named in (network.generation_config, network.config, network.config.get_text_config()):
        ends = getattr(named, "eos_token_id", None)
        if ends is not None:
            return frozenset([ends] if isinstance(ends, int) else ends)
    return frozenset()


def greedy(network: Any, ids: Sequence[int], new: int, ends: Collection[int] = ()) -> list[int]:
    """At most `new` tokens after `ids`, each the likeliest; one of `ends` is the last.

    Raises:
        SecateurError: the logits are not numbers, so that no token is the likeliest.
    """
    return list(likeliest(network, ids, new, ends))


def likeliest(network: Any, ids: Sequence[int], new: int, ends: Collection[int] = ()) -> Iterator[int]:
    """The tokens of `greedy`, each as soon as it is known."""
    given, cache = torch.tensor([list(ids)], device=network.device), dict[str, Any]()
    for _ in range(new):
        with torch.inference_mode():  # not around the loop: whoever is handed a token would be in it, too
            logits, cache = step(network, given, cache)
            if logits.isnan().any():
                raise SecateurError("its logits are not numbers")
            token = logits.argmax(-1, keepdim=True)
            given = token if cache else torch.cat([given, token], 1)  # without a cache all is read again
        written = int(token)
        yield written
        if written in ends:
            return


def following(of: Reads, ids: Sequence[int], written: Sequence[int]) -> str:
    """The text of what was written, as it stands after the prompt: alone, some tokenizers drop its first space."""
    before, whole = _text(of, ids), _text(of, [*ids, *written])
    return whole[len(before) :] if whole.startswith(before) else _text(of, written)


def _text(of: Reads, ids: Sequence[int]) -> str:
    return str(of.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))
