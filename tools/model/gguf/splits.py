r"""How a byte-level BPE vocabulary cuts text before it merges, by the names that `tokenizer.ggml.pre` gives the rules.

The names, their expressions and what else hangs on them are from llama.cpp's src/llama-vocab.cpp (MIT licence,
copyright (c) 2023-2026 The ggml authors); case-insensitive contractions are written as the tokenizers themselves do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN_2 = LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")
QWEN_35 = QWEN_2.replace(r"\p{L}+", r"[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")
SEED_CODER = QWEN_2.replace(r"\p{N}|", r"\p{N}{1}|").replace(r"\p{N}]+[\r\n]*", r"\p{N}\r\n]+")
_CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+{end}"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*{end}"
    r"|{digits}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = _CASED.replace("{end}", "").replace("{digits}", r"\p{N}")
GPT_4O = _CASED.replace("{end}", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?").replace("{digits}", r"\p{N}{1,3}")
DEEPSEEK_3 = (
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
)
_WORDS = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"
_ASIAN = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
DEEPSEEK_CODER = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _ASIAN, r"\p{N}")
DEEPSEEK = (
    r"[\r\n]",
    r"\s?[\p{Lu}\p{Ll}\p{Lt}]+",  # there a list of ranges: the letters that are of either case
    "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
    r"\s+$",
    _ASIAN,
    r"\p{N}+",
)

GPT_2: dict[str, Any] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
BYTES: dict[str, Any] = GPT_2 | {"use_regex": False}
"""The last step of rules that cut by themselves: bytes become letters."""
DIGITS: dict[str, Any] = {"type": "Digits", "individual_digits": True}


@dataclass(frozen=True)
class Rules:
    """What hangs on a name."""

    steps: tuple[dict[str, Any], ...]
    """Pre-tokenizers, as tokenizer.json says them."""
    normalizer: str | None = None
    ignores_merges: bool = False
    """A word that is a token is taken whole, whatever its merges make of it."""
    adds_bos: bool = False
    """Where the file does not say."""


def _split(*patterns: str) -> tuple[dict[str, Any], ...]:
    cuts = [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        for pattern in patterns
    ]
    return (*cuts, BYTES)


RULES: dict[str, Rules] = {
    **dict.fromkeys(
        ("gpt-2", "default", "phi-2", "olmo", "mpt", "jais", "trillion", "exaone4", "mellum"), Rules((GPT_2,))
    ),
    **dict.fromkeys(
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"),
        Rules((DIGITS, GPT_2)),
    ),
    **dict.fromkeys(
        ("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"),
        Rules(_split(LLAMA_3), ignores_merges=True, adds_bos=True),
    ),
    **dict.fromkeys(("smaug-bpe", "dbrx", "chatglm-bpe", "glm4"), Rules(_split(LLAMA_3))),
    "qwen2": Rules(_split(QWEN_2), "NFC"),
    **dict.fromkeys(
        ("deepseek-r1-qwen", "megrez", "kormo", "f2llmv2", "hunyuan", "stablelm2", "grok-2", "solar-open"),
        Rules(_split(QWEN_2)),
    ),
    "qwen35": Rules(_split(QWEN_35), "NFC"),
    "tekken": Rules(_split(TEKKEN), ignores_merges=True, adds_bos=True),
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"), Rules(_split(GPT_4O))),
    "deepseek-llm": Rules(_split(*DEEPSEEK)),
    "deepseek-coder": Rules(_split(*DEEPSEEK_CODER)),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense", "joyai-llm"), Rules(_split(*DEEPSEEK_3))),
    "seed-coder": Rules(_split(SEED_CODER)),
    **dict.fromkeys(("bloom", "poro-chat", "gpt3-finnish"), Rules(_split(_WORDS))),
    "viking": Rules(_split(_WORDS, r"\p{N}")),
}
"""Of several names for the same rules the first is the one that is written."""


def name_of(described: dict[str, Any]) -> str | None:
    """The name of the rules of a byte-level tokenizer.json; None where they are exactly those of no name."""
    given = described.get("pre_tokenizer") or {}
    steps = given.get("pretokenizers", []) if given.get("type") == "Sequence" else [given]
    normalizer = (described.get("normalizer") or {}).get("type")
    merges = bool(described["model"].get("ignore_merges"))
    known = [_essence(step) for step in steps]
    for name, rules in RULES.items():
        wanted = [_essence(step) for step in rules.steps]
        if (wanted, rules.normalizer, rules.ignores_merges) == (known, normalizer, merges):
            return name
    return None


def _essence(step: dict[str, Any]) -> dict[str, Any]:
    """A step without what only moves the offsets of its pieces."""
    return {key: value for key, value in step.items() if key != "trim_offsets"}
