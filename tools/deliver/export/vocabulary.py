"""The tokenizer of a folder, as the fields of a GGUF: tokens, types, merges or scores, special tokens, chat template.

Read from tokenizer.json, which every tokenizer of transformers 5 saves. Byte-level BPE becomes llama.cpp's `gpt2`
model, which merges by rank as the file does. BPE with byte fallback, what SentencePiece models are converted to,
becomes its `llama` model, which merges the pair whose result scores highest, the leftmost first: with the rank of the
merge, negative, as the score of its result, that is the same order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.deliver.export import pretokenizer
from tools.deliver.export.verdict import Cannot
from tools.io.errors import reason

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""gguf.TokenType."""

UNSCORED = -1e6
"""Of tokens that no merge makes."""

SPACE = "▁"
"""SentencePiece's space."""

OTHERWISE = "llama.cpp's own convert_hf_to_gguf.py may know it"


@dataclass
class Vocabulary:
    """What `tokenizer.ggml.*` says."""

    model: str
    """`gpt2` or `llama`, llama.cpp's names for byte-level BPE and SentencePiece."""
    pre: str
    tokens: list[str]
    """One for each row of the embedding."""
    types: list[int]
    scores: list[float] = field(default_factory=list)
    """Empty where merges are given."""
    space_prefix: bool | None = None
    """Whether text gets a space in front; None where the model does not ask."""
    adds: dict[str, bool] = field(default_factory=dict)
    """Whether `bos` and `eos` are added to a text."""

    def write(self, writer: Any, folder: Path) -> None:
        """Put it into a gguf.GGUFWriter, with the special tokens and the chat template of the folder."""
        from gguf import SpecialVocab

        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        if self.scores:
            writer.add_token_scores(self.scores)
        if self.space_prefix is not None:
            writer.add_add_space_prefix(self.space_prefix)
        special = SpecialVocab(folder, load_merges=self.model == "gpt2", n_vocab=len(self.tokens))
        special.add_special_token = self.adds  # seen, not guessed from the template
        special.add_to_gguf(writer, quiet=True)


def read(folder: Path, rows: int) -> Vocabulary:
    """The vocabulary of a folder.

    Args:
        folder: holds tokenizer.json.
        rows: of the embedding; what the tokenizer does not fill is padded with unused tokens.

    Raises:
        Cannot: there is no tokenizer.json, it is damaged, or of a kind that is not known here.
    """
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.is_file():
        raise Cannot("there is no tokenizer.json: open the tokenizer with transformers 5 and save it into the folder")
    try:
        tokenizer = Tokenizer.from_file(str(file))
        described = json.loads(file.read_text(encoding="utf-8"))
        tokens, types = _tokens(tokenizer, described, rows)
        adds = _adds(folder, tokenizer, described)
    except Cannot:
        raise
    except Exception as error:  # tokenizers raises bare Exceptions, and a strange file may break any assumption
        raise Cannot(f"tokenizer.json cannot be read: {reason(error)}") from error
    model = described["model"]
    if model.get("type") != "BPE":
        raise Cannot(f"tokenizer.json holds a {model.get('type')} model; only BPE is written here. {OTHERWISE}.")
    if model.get("byte_fallback"):
        _mark_sentencepiece(described, tokens, types)
        scores = _scores(model, tokens)
        return Vocabulary("llama", "default", tokens, types, scores, _prefixes_space(described), adds)
    pre = pretokenizer.name(tokenizer, described)
    if pre is None:
        raise Cannot(f"how its tokenizer cuts text (pre_tokenizer of tokenizer.json) has no name here. {OTHERWISE}.")
    return Vocabulary("gpt2", pre, tokens, types, adds=adds)


def _tokens(tokenizer: Any, described: dict[str, Any], rows: int) -> tuple[list[str], list[int]]:
    """Token and type of every row; as llama.cpp's converter, tokens that look special are control tokens."""
    vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    highest = max(vocabulary.values(), default=-1)
    if highest >= rows:
        raise Cannot(f"the tokenizer goes up to id {highest}, the embedding has {rows} rows")
    tokens = [f"[PAD{row}]" for row in range(rows)]
    types = [UNUSED] * rows
    for token, row in vocabulary.items():
        tokens[row], types[row] = token, NORMAL
    for added in described.get("added_tokens") or []:
        row, token = int(added["id"]), str(added["content"])
        special = bool(added["special"]) or (token.startswith("<|") and token.endswith("|>"))
        tokens[row] = token if special else token.replace(SPACE, " ")
        types[row] = CONTROL if special else USER_DEFINED
    return tokens, types


def _mark_sentencepiece(described: dict[str, Any], tokens: list[str], types: list[int]) -> None:
    unknown = described["model"].get("unk_token")
    for row, token in enumerate(tokens):
        if types[row] == NORMAL and len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            types[row] = BYTE
        if token == unknown:
            types[row] = UNKNOWN


def _scores(model: dict[str, Any], tokens: list[str]) -> list[float]:
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(model["merges"]):
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        ranks.setdefault(left + right, rank)
    return [-float(ranks[token]) if token in ranks else UNSCORED for token in tokens]


def _prefixes_space(described: dict[str, Any]) -> bool:
    """Whether the tokenizer puts a space before a text: as a normalizer (Llama 2) or in Metaspace."""
    normalizer, cutter = described.get("normalizer") or {}, described.get("pre_tokenizer") or {}
    steps = normalizer.get("normalizers", [normalizer]) + cutter.get("pretokenizers", [cutter])
    return any(
        step.get("type") == "Prepend"
        or (step.get("type") == "Metaspace" and step.get("prepend_scheme", "always") in ("always", "first"))
        for step in steps
    )


def _adds(folder: Path, tokenizer: Any, described: dict[str, Any]) -> dict[str, bool]:
    """Whether a text begins with `bos` and ends with `eos`, from encoding one."""
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    ids = {str(added["content"]): int(added["id"]) for added in described.get("added_tokens") or []}
    encoded, bare = (tokenizer.encode("a", add_special_tokens=special).ids for special in (True, False))
    found = {}
    for kind, end in (("bos", 0), ("eos", -1)):
        token = config.get(f"{kind}_token")
        row = ids.get(str(token.get("content") if isinstance(token, dict) else token))
        found[kind] = encoded != bare and row is not None and encoded[end] == row
    return found
