"""Calibration and evaluation text as windows of token ids.

Four parts that never share a token: `calibration` (statistics), `search` (fitness of candidates), `selection` (which
finalist wins) and `test` (read once, at the end). Sources: `builtin` (speeches that come with a Python package, no
network), `wikitext2` and `c4` (from the hub), or a local .txt / .jsonl file.

A local file is one stream of tokens, and what is read from it for several parts is dealt by place: `calibration` reads
from its start, `search` and `selection` are its last two tenths, and `test` the two tenths before them. A file that is
read for nothing but calibration, or nothing but a test, is read from its start, as far as that goes. Files are known by
their text, so that a link or a copy is the same file.

Every window begins as the model's texts did when it was trained: with BOS if the tokenizer itself puts one before a
text (Llama, Mistral), and for a Gemma whatever its tokenizer does, as without BOS its perplexity explodes. The code of
SparseGPT and Wanda cuts one long text, of which the first window alone has BOS: published figures of a Llama are those
of windows without. The protocol says what windows begin with.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch

from tools.io.errors import SecateurError
from tools.model.positions import check_length
from tools.text.provenance import calibrated
from tools.text.sources import SOURCES, Part, read
from tools.text.tokens import tokens_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

_TENTHS: Mapping[Part, tuple[int, int]] = {"test": (6, 8), "search": (8, 9), "selection": (9, 10)}
"""From where to where a local file is read for a part; calibration has what lies before the first of the others."""


_SET: Mapping[Part, str] = {
    "calibration": "calibration windows (--length)",
    "search": "search windows (SECATEUR_SEARCH_LENGTH)",
    "selection": "selection windows (SECATEUR_SEARCH_LENGTH)",
    "test": "test windows (SECATEUR_TEST_LENGTH, or --length of evaluate)",
}
"""What windows of a part are called where they are too long, and what sets their length."""


class Reads(Protocol):
    """What text is cut for: an opened model, or as much of one as is known without its weights."""

    @property
    def name(self) -> str:
        """How messages call the model."""
        ...

    @property
    def folder(self) -> Path:
        """Where its files are."""
        ...

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """What turns text into ids."""
        ...

    @property
    def config(self) -> PreTrainedConfig:
        """What says how long a context may be, and which token begins a text."""
        ...


@dataclass(frozen=True)
class Wanted:
    """`count` windows of `length` tokens of a source."""

    source: str
    count: int
    length: int
    seed: int = 0


@dataclass(frozen=True)
class Windows:
    """`ids` (count, length) int64; `starts` (count,) token offsets in the stream that `stream` names."""

    ids: torch.Tensor
    text: str
    sha256: str
    stream: str
    starts: tuple[int, ...]
    begin: str = ""
    """What every window begins with, as the tokenizer writes it: `<bos>`, or nothing."""
    notes: tuple[str, ...] = ()
    """What is unusual about them, and must be said with every number: `longer than ...`."""

    @property
    def tokens(self) -> int:
        """How many there are in all windows."""
        return self.ids.numel()

    def first(self, count: int) -> Windows:
        """The first `count` windows."""
        ids = self.ids[:count]
        return replace(self, ids=ids, sha256=_sha256(ids), starts=self.starts[:count])


@dataclass(frozen=True)
class _Stream:
    """A text as tokens, and all that is asked of it; `local` if it is a file."""

    name: str
    ids: array[int]
    parts: Mapping[Part, Wanted]
    local: bool

    def tenths(self, part: Part) -> tuple[int, int]:
        """From where to where a part may read."""
        if not self.local or (len(self.parts) == 1 and part in ("calibration", "test")):
            return 0, 10
        if part == "calibration":
            return 0, min(_TENTHS[other][0] for other in self.parts if other != part)
        return _TENTHS[part]

    def room(self, part: Part, tokens: int) -> range:
        """The tokens that a part may read, if there were `tokens`."""
        low, high = self.tenths(part)
        return range(tokens * low // 10, tokens * high // 10)

    def where(self, part: Part) -> str:
        """The place of a part in words, for example `60 to 80 %`; nothing where it may read all."""
        low, high = self.tenths(part)
        if (low, high) == (0, 10):
            return ""
        return f"first {10 * high} %" if low == 0 else f"{10 * low} to {10 * high} %" if high < 10 else "last 10 %"

    def text(self, part: Part) -> str:
        """What windows of it are called."""
        source = self.parts[part].source
        if not self.local:
            return f"{source}/{part}"
        where = self.where(part)
        return Path(source).name + (f" ({where})" if where else "")


def windows(source: str, of: Reads, *, part: Part, count: int, length: int, seed: int = 0) -> Windows:
    """Windows for one part alone; see `texts`."""
    return texts(of, {part: Wanted(source, count, length, seed)})[part]


def texts(of: Reads, wanted: Mapping[Part, Wanted]) -> dict[Part, Windows]:
    """Cut windows for a model, so that no two parts share a token.

    Raises:
        UsageError: a source is not known.
        SecateurError: it cannot be read, is empty, or is too short for all that is asked of it; or the model cannot
            read windows of that length, or needs a BOS that nothing names.
    """
    notes = {part: check_length(of.name, of.config, asked.length, _SET[part]) for part, asked in wanted.items()}
    begin, written = begin_of(of)
    streams = _streams(of, wanted)
    for stream in {stream.name: stream for stream in streams.values()}.values():
        _check_room(stream, len(begin))
    found = {}
    for part, asked in wanted.items():
        stream, body = streams[part], asked.length - len(begin)
        room = stream.room(part, len(stream.ids))
        starts = tuple(room[i * body] for i in _choose(asked, part, len(room) // body))
        ids = torch.tensor([begin + stream.ids[start : start + body].tolist() for start in starts], dtype=torch.int64)
        if stream.local and part != "calibration":
            notes[part] += calibrated(of.folder, asked.source, starts[0])
        found[part] = Windows(ids, stream.text(part), _sha256(ids), stream.name, starts, written, notes[part])
    return found


def dealt(parts: Mapping[Part, Windows]) -> list[str]:
    """A line for every local file that is read for several parts."""
    files: dict[str, list[str]] = {}
    for part, found in parts.items():
        files.setdefault(found.stream, []).append(f"{part} from {found.text}")
    uses = [", ".join(lines) for lines in files.values() if len(lines) > 1]
    return [f"one file, dealt into parts that share nothing: {line}" for line in uses]


def _streams(of: Reads, wanted: Mapping[Part, Wanted]) -> dict[Part, _Stream]:
    """The stream of every part; each text is cut into tokens once."""
    texts = {part: read(asked.source, part) for part, asked in wanted.items()}
    found: dict[str, _Stream] = {}
    for text, name in texts.values():
        if name not in found:
            ids = tokens_of(of.tokenizer, text)
            parts = {part: asked for part, asked in wanted.items() if texts[part][1] == name}
            local = all(asked.source not in SOURCES for asked in parts.values())
            found[name] = _Stream(name, ids, parts, local)
    return {part: found[name] for part, (_, name) in texts.items()}


def _check_room(stream: _Stream, begin: int) -> None:
    """Refuse a text that is too short, with what it has and what all that is asked of it needs."""
    needs = {part: asked.count * (asked.length - begin) for part, asked in stream.parts.items()}

    def holds(tokens: int) -> bool:
        return all(len(stream.room(part, tokens)) >= need for part, need in needs.items())

    if not holds(len(stream.ids)):
        source = next(iter(stream.parts.values())).source
        uses = [
            f"{asked.count} windows of {asked.length} ({', '.join(filter(None, (part, stream.where(part))))})"
            for part, asked in stream.parts.items()
        ]
        tenths = {part: high - low for part in needs for low, high in [stream.tenths(part)]}
        start = max(10 * need // tenths[part] for part, need in needs.items())
        least = next(tokens for tokens in count(start) if holds(tokens))
        raise SecateurError(
            f"{source}: {len(stream.ids):,} tokens are too few for {' and '.join(uses)}, which need {least:,}; "
            "give a longer text, fewer windows or shorter ones"
        )


def _sha256(ids: torch.Tensor) -> str:
    return hashlib.sha256(ids.numpy().tobytes()).hexdigest()


def _choose(asked: Wanted, part: Part, total: int) -> list[int]:
    """Indices of windows: in order for files and test sets, spread out where a part is a mixture of documents."""
    if asked.source == "builtin" and part == "test":
        return [i * total // asked.count for i in range(asked.count)]
    if part == "test" or asked.source not in SOURCES:
        return list(range(asked.count))
    order = torch.randperm(total, generator=torch.Generator().manual_seed(asked.seed))
    return sorted(order[: asked.count].tolist())


def begin_of(of: Reads) -> tuple[list[int], str]:
    """The ids that every text begins with, and how the tokenizer writes them.

    Raises:
        SecateurError: the model needs a BOS, and nothing names one.
    """
    begin = _begin(of)
    return begin, "".join(map(str, of.tokenizer.convert_ids_to_tokens(begin)))


def _begin(of: Reads) -> list[int]:
    special = of.tokenizer.all_special_ids
    added = list(takewhile(lambda token: token in special, of.tokenizer("a")["input_ids"]))
    text = of.config.get_text_config()
    if added or not any("gemma" in kind for kind in (str(of.config.model_type), str(text.model_type))):
        return added
    named = (of.tokenizer.bos_token_id, getattr(text, "bos_token_id", None), getattr(of.config, "bos_token_id", None))
    for bos in named:
        if isinstance(bos, int) and 0 <= bos < text.vocab_size:
            return [bos]
    raise SecateurError(
        f"{of.name}: a Gemma reads every text after BOS, and neither its tokenizer nor its configuration names one; "
        "put bos_token into its tokenizer_config.json"
    )
