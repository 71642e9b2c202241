"""A text as token ids, computed once in a process however often models with the same tokenizer are opened."""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_KEPT = 8
"""Texts: all parts of two models that are compared. Four bytes a token, some megabytes a text."""

_known: OrderedDict[tuple[str, str], array[int]] = OrderedDict()


def tokens_of(tokenizer: PreTrainedTokenizerBase, text: str) -> array[int]:
    """The ids of a text without special tokens; not to be written to."""
    key = _identity(tokenizer), hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    found = _known.pop(key, None)
    if found is None:
        found = array("i", tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    if key[0]:
        _known[key] = found
        while len(_known) > _KEPT:
            _known.popitem(last=False)
    return found


def _identity(tokenizer: PreTrainedTokenizerBase) -> str:
    """All that a tokenizer does, as a hash; nothing where it cannot tell, as one that is written in Python."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return ""
    does = f"{type(tokenizer).__qualname__} {getattr(tokenizer, 'split_special_tokens', None)} {backend.to_str()}"
    return hashlib.sha256(does.encode()).hexdigest()
