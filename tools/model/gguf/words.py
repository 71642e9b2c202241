"""The tokenizer of a GGUF, as a tokenizer of transformers whose ids are those of the file.

transformers makes one too, but appends tokens of its own (`<|endoftext|>` to every byte-level vocabulary), leaves out
control tokens that are not written in byte letters, and cuts text as GPT-2 does where it does not know the name of the
rules. So a byte-level vocabulary is put together here, and of the others tokens and special tokens are written anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.io.errors import SecateurError
from tools.io.quiet import quiet
from tools.model.gguf.splits import RULES, Rules

UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 2, 3, 4, 5
"""gguf.TokenType."""

SPACE = "▁"
"""SentencePiece's space."""

KINDS = ("bos", "eos", "unk", "pad")

FIELDS = {"bos": "bos_token_id", "eos": "eos_token_id", "unk": "unknown_token_id", "pad": "padding_token_id"}
"""Kind of special token -> its key below `tokenizer.ggml.`."""

USUAL: dict[str, dict[str, int]] = {"llama": {"bos": 1, "eos": 2, "unk": 0}}
"""Model of the tokenizer -> the ids of its special tokens where the file does not say, as llama.cpp has them."""

DECODER = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}


def special_ids(said: Mapping[str, Any]) -> dict[str, int | None]:
    """Kind -> id of the special tokens.

    Args:
        said: the keys below `tokenizer.ggml.`.
    """
    usual = USUAL.get(str(said.get("model")), {})
    return {kind: said.get(FIELDS[kind], usual.get(kind)) for kind in KINDS}


def write(said: Mapping[str, Any], template: str | None, file: Path, rows: int, folder: Path) -> None:
    """Write the tokenizer into a folder, which holds a configuration, and read it back.

    Args:
        said: the keys below `tokenizer.ggml.`. template: the chat template.
        file: with the vocabulary. rows: of the embedding.

    Raises:
        SecateurError: there is none, it is of a kind that is not known here, or its ids would not be the file's.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    tokens = _tokens(said, rows)
    described = _byte_level(said) if said["model"] == "gpt2" else _other(said, file)
    ids = {token: row for row, token in tokens.items()}
    if described["model"]["type"] == "BPE":
        described["model"]["vocab"] = ids
    types = said.get("token_type") or []
    described["added_tokens"] = [_added(row, tokens[row], kind) for row, kind in enumerate(types) if _is_added(kind)]
    special = {kind: row for kind, row in special_ids(said).items() if row is not None}
    for kind, row in special.items():
        if row not in tokens:
            raise SecateurError(f"tokenizer.ggml.{FIELDS[kind]} is {row}, and there is no such token")
    if (unknown := special.get("unk")) is not None and described["model"]["type"] == "BPE":
        described["model"]["unk_token"] = tokens[unknown]
    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(described)),
        add_bos_token=bool(said.get("add_bos_token", _adds_bos(said))) and "bos" in special,
        add_eos_token=bool(said.get("add_eos_token", False)) and "eos" in special,
        clean_up_tokenization_spaces=False,
        **{f"{kind}_token": tokens[row] for kind, row in special.items()},
    )
    made.chat_template = template
    with quiet():
        made.save_pretrained(folder)
    settings = folder / "tokenizer_config.json"
    # The name that every version of transformers knows.
    named = json.loads(settings.read_text(encoding="utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    settings.write_text(json.dumps(named, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    _check(folder, tokens, types)


def _tokens(said: Mapping[str, Any], rows: int) -> dict[int, str]:
    """Id -> token as tokenizer.json spells it, without what only fills up the embedding."""
    tokens, types = said.get("tokens"), said.get("token_type") or []
    if said.get("model") in (None, "none", "no_vocab") or not tokens:
        raise SecateurError("it has no tokenizer (tokenizer.ggml.tokens)")
    if len(tokens) > rows:
        raise SecateurError(f"its tokenizer has {len(tokens)} tokens, the embedding has {rows} rows")
    found: dict[int, str] = {}
    for row, token in enumerate(tokens):
        kind = types[row] if row < len(types) else None
        if kind == UNUSED and token == f"[PAD{row}]":
            continue
        # In a SentencePiece vocabulary, tokens that people add are written with plain spaces.
        found[row] = token.replace(" ", SPACE) if said["model"] != "gpt2" and kind != CONTROL else token
    seen: dict[str, int] = {}
    for row, token in found.items():
        if token in seen:
            raise SecateurError(f"its tokens {seen[token]} and {row} are the same ({token!r}), so one has no id")
        seen[token] = row
    return found


def _adds_bos(said: Mapping[str, Any]) -> bool:
    """What llama.cpp does where the file does not say."""
    return said["model"] == "llama" or (said["model"] == "gpt2" and _rules(said).adds_bos)


def _rules(said: Mapping[str, Any]) -> Rules:
    name = str(said.get("pre", "default"))
    if name not in RULES:
        raise SecateurError(f"how its tokenizer cuts text (tokenizer.ggml.pre is {name}) is not known here")
    return RULES[name]


def _byte_level(said: Mapping[str, Any]) -> dict[str, Any]:
    """A tokenizer.json for a byte-level vocabulary, without its tokens."""
    rules = _rules(said)
    steps = list(rules.steps)
    merges = [(one[: one.index(" ", 1)], one[one.index(" ", 1) + 1 :]) for one in said.get("merges") or []]
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "fuse_unk": False}
    model |= {"end_of_word_suffix": "", "byte_fallback": False, "ignore_merges": rules.ignores_merges}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "normalizer": {"type": rules.normalizer} if rules.normalizer else None,
        "pre_tokenizer": steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": steps},
        "post_processor": None,
        "decoder": DECODER,
        "model": model | {"merges": merges},
    }


def _other(said: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """The tokenizer.json of a vocabulary that is not byte-level, as transformers makes it."""
    from transformers import AutoTokenizer

    with quiet():
        made = AutoTokenizer.from_pretrained(
            file.parent, gguf_file=file.name, local_files_only=True, trust_remote_code=False
        )
    described: dict[str, Any] = json.loads(made.backend_tokenizer.to_str())
    if said["model"] == "llama":
        if said.get("add_space_prefix") is False:
            _without_prefix(described)
        else:
            _with_prefix(described)
    return described


def _with_prefix(described: dict[str, Any]) -> None:
    """Put a space in front of every text, also of one that begins with a space, as llama.cpp and SentencePiece do."""
    before = {"type": "Prepend", "prepend": SPACE}
    within = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    described["normalizer"] = {"type": "Sequence", "normalizers": [before, within]}
    described["pre_tokenizer"] = None


def _without_prefix(described: dict[str, Any]) -> None:
    """Put no space in front of a text, and take none away."""
    cutter, decoder = described.get("pre_tokenizer") or {}, described.get("decoder") or {}
    if cutter.get("type") == "Metaspace":
        cutter["prepend_scheme"] = "never"
    if "normalizers" in (normalizer := described.get("normalizer") or {}):
        normalizer["normalizers"] = [step for step in normalizer["normalizers"] if step["type"] != "Prepend"]
    if "decoders" in decoder:
        decoder["decoders"] = [step for step in decoder["decoders"] if step["type"] != "Strip"]


def _is_added(kind: int) -> bool:
    return kind in (UNKNOWN, CONTROL, USER_DEFINED)


def _added(row: int, token: str, kind: int) -> dict[str, Any]:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": row, "content": token, **plain, "special": kind != USER_DEFINED}


def _check(folder: Path, tokens: Mapping[int, str], types: list[int]) -> None:
    """Raise SecateurError unless the tokenizer, opened as every model's is, has the ids of the file and no others."""
    from transformers import AutoTokenizer

    with quiet():
        found = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if (ids := found.get_vocab()) != {token: row for row, token in tokens.items()}:
        strange = min(set(ids.items()) ^ {(token, row) for row, token in tokens.items()}, key=lambda one: one[1])
        raise SecateurError(f"its token {strange[0]!r} does not keep the id {strange[1]} in transformers")
    for row, token in tokens.items():
        if row < len(types) and types[row] == CONTROL and found.encode(token, add_special_tokens=False) != [row]:
            raise SecateurError(f"its control token {token!r} is not read as one token")
