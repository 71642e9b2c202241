"""Tokenizers of GGUF files: ids stay, text is cut as the file says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import pytest

from tests.tools.blocks_that_differ import logits_of
from tests.tools.ggufs import network_of, words, write
from tests.tools.model.gguf.files import PROBE, WORDS, refused
from tools.deliver.export import export
from tools.model.checkpoint import open_model


def said_of(file: Path) -> dict[str, Any]:
    """What a GGUF says of its tokenizer."""
    fields = gguf.GGUFReader(file).fields.items()
    return {k.removeprefix("tokenizer.ggml."): f.contents() for k, f in fields if k.startswith("tokenizer.ggml.")}


DEEPSEEK = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>")


VOCABULARIES: dict[str, dict[str, Any]] = {
    "llama 3": words(("<|begin_of_text|>", "<|end_of_text|>"), pre="llama-bpe", bos_token_id=258, eos_token_id=259),
    "deepseek": words(DEEPSEEK, pre="deepseek-llm", bos_token_id=258, eos_token_id=259, add_bos_token=True),
    "deepseek 3": words(DEEPSEEK, pre="deepseek-v3", bos_token_id=258, eos_token_id=259, padding_token_id=259),
    "no rules": words(DEEPSEEK, bos_token_id=258, eos_token_id=259, add_bos_token=True, add_eos_token=True),
    "qwen": words(("<|endoftext|>", "<|im_start|>"), pre="qwen2", eos_token_id=258, padding_token_id=258),
    "digits": words(("<|endoftext|>",), pre="smollm", bos_token_id=258, eos_token_id=258, unknown_token_id=258),
}


@pytest.mark.parametrize("case", VOCABULARIES)
def test_the_ids_of_a_file_are_kept_there_and_back(case: str, tmp_path: Path) -> None:
    given = VOCABULARIES[case]
    last = len(given["tokens"])
    given = given | {"tokens": [*given["tokens"], "<think>", f"[PAD{last + 1}]"]}
    given["token_type"] = [*given["token_type"], 4, 5]
    rows = len(given["tokens"])
    model = open_model(str(write(tmp_path / "it.gguf", network_of(rows), given)), cache=tmp_path / "cache")
    tokenizer = model.tokenizer
    ids = {token: row for row, token in enumerate(given["tokens"]) if not token.startswith("[PAD")}
    assert tokenizer.get_vocab() == ids
    for row, (token, kind) in enumerate(zip(given["tokens"], given["token_type"], strict=True)):
        if kind in (3, 4):
            assert tokenizer.encode(f"the{token}", add_special_tokens=False) == [257, row]
        if kind == 3:
            assert tokenizer.decode([257, row], skip_special_tokens=True) == "the"
    for kind, key in {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}.items():
        assert getattr(tokenizer, f"{kind}_token_id") == given.get(f"{key}_token_id")
        if kind != "unk":
            assert getattr(model.network.config, f"{kind}_token_id") == given.get(f"{key}_token_id")
    begins = [258] if given.get("add_bos_token", case == "llama 3") else []
    assert tokenizer.encode("the") == [*begins, 257, *([259] if given.get("add_eos_token") else [])]
    file = export(model.folder, "llama.cpp", output=tmp_path / "back.gguf").files[0]
    back = said_of(file)
    assert {key: back[key] for key in ("tokens", "token_type", "merges")} == {
        key: given[key] for key in ("tokens", "token_type", "merges")
    }
    assert back["pre"] == given.get("pre", "gpt-2")
    for key in ("bos_token_id", "eos_token_id", "padding_token_id", "unknown_token_id"):
        assert back.get(key) == given.get(key)
    assert (back["add_bos_token"], back["add_eos_token"]) == (bool(begins), bool(given.get("add_eos_token")))
    assert logits_of(open_model(str(file), cache=tmp_path / "cache").network, PROBE[0]).shape[-1] == rows


def test_text_is_cut_as_the_file_says(tmp_path: Path) -> None:
    """123 is one token where digits stay together, as GPT-2 leaves them, and three where each stands alone."""
    found = {}
    for pre in ("gpt-2", "smollm", "llama-bpe"):
        given = words(("<|x|>",), pre=pre, eos_token_id=260)
        given |= {"tokens": [*given["tokens"][:258], "12", "34", "<|x|>"], "merges": ["t h", "th e", "1 2", "3 4"]}
        given["token_type"] = [1] * 260 + [3]
        file = write(tmp_path / f"{pre}.gguf", network_of(261), given)
        model = open_model(str(file), cache=tmp_path / "cache")
        found[pre] = model.tokenizer.convert_ids_to_tokens(model.tokenizer.encode("1234", add_special_tokens=False))
    assert found == {"gpt-2": ["12", "34"], "smollm": ["1", "2", "3", "4"], "llama-bpe": ["12", "3", "4"]}


PIECES = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "t", "h", "e", "th", "the", "▁the"]


@pytest.mark.parametrize("prefix", [None, True, False])
def test_a_sentencepiece_vocabulary_keeps_ids_and_its_space(prefix: bool | None, tmp_path: Path) -> None:
    given: dict[str, Any] = {"model": "llama", "tokens": [*PIECES, "<sep>"]}
    given |= {"token_type": [2, 3, 3] + [6] * 256 + [1] * 7 + [4]}
    given |= {"scores": [0.0] * 259 + [-9.0] * 4 + [-1.0, -2.0, -3.0, 0.0]}
    given |= {} if prefix is None else {"add_space_prefix": prefix}
    model = open_model(str(write(tmp_path / "it.gguf", network_of(267), given)), cache=tmp_path / "cache")
    tokenizer = model.tokenizer
    assert tokenizer.get_vocab() == {token: row for row, token in enumerate(given["tokens"])}
    the = ["the"] if prefix is False else ["▁the"]
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("the")) == ["<s>", *the]
    if prefix is not False:  # one more in front of a text that begins with one
        assert tokenizer.convert_ids_to_tokens(tokenizer.encode(" the")) == ["<s>", "▁", "▁the"]
    assert tokenizer.decode(tokenizer.encode(" the"), skip_special_tokens=True) == " the"
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (1, 2, 0)
    back = said_of(export(model.folder, "llama.cpp", output=tmp_path / "back.gguf").files[0])
    assert (back["tokens"], back["token_type"]) == (given["tokens"], given["token_type"])
    assert (back["add_space_prefix"], back["add_bos_token"]) == (prefix is not False, True)
    assert back["scores"][264] > back["scores"][265]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (WORDS | {"pre": "from-tomorrow"}, "how its tokenizer cuts text (tokenizer.ggml.pre is from-tomorrow)"),
        (WORDS | {"bos_token_id": 260}, "tokenizer.ggml.bos_token_id is 260, and there is no such token"),
        (WORDS | {"tokens": [*WORDS["tokens"][:-1], "the"]}, "its tokens 257 and 259 are the same ('the')"),
        (WORDS | {"tokens": [*WORDS["tokens"], "x1"]}, "its tokenizer has 261 tokens, the embedding has 260 rows"),
        ({"model": "none"}, "it has no tokenizer"),
    ],
)
def test_a_vocabulary_without_ids_of_its_own_is_refused(given: dict[str, Any], line: str, tmp_path: Path) -> None:
    write(tmp_path / "it.gguf", network_of(260), given, {"llama.vocab_size": 260})
    assert line in refused(tmp_path / "it.gguf", tmp_path / "cache")
