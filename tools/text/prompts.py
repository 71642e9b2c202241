"""Prompts from a file: a text with one in every line, or JSON lines."""

from __future__ import annotations

import json
from pathlib import Path

from tools.io.errors import SecateurError, UsageError


def read_prompts(file: Path) -> tuple[str, ...]:
    """The prompts of a .txt file, one a line, or of a .jsonl file with lines such as `{"prompt": "Once upon"}`. Lines
    without anything are skipped.

    Raises:
        UsageError: it is neither.
        SecateurError: it cannot be read, holds no prompt, or a line is malformed; the message has its number.
    """
    if file.suffix not in (".txt", ".jsonl"):
        raise UsageError(f"{file}: prompts come from a .txt file, one a line, or from a .jsonl file")
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise SecateurError(f"{file}: no such file") from None
    except OSError as error:
        raise SecateurError(f"{file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise SecateurError(f"{file}: line {line} is not UTF-8 text") from error
    # Only "\n" ends a line: prompts may hold other characters that str.splitlines() cuts at.
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines:
        raise SecateurError(f"{file}: holds no prompt")
    if file.suffix == ".txt":
        return tuple(line.removesuffix("\r") for _, line in lines)
    return tuple(_prompt(line, f"{file}: line {number}") for number, line in lines)


def _prompt(line: str, where: str) -> str:
    try:
        found = json.loads(line)["prompt"]
        found.encode()  # JSON can write halves of characters, which are no text
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SecateurError(f'{where} is no JSON object with a text as "prompt"') from error
    if not found.strip():
        raise SecateurError(f"{where}: the prompt is empty")
    return str(found)
