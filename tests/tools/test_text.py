"""Text: four parts that share nothing, files from their start, one clear line for what cannot be read."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import pytest

from tools import text
from tools.checkpoint import Model
from tools.errors import SecateurError, UsageError
from tools.text import Part, Windows, require_disjoint, windows

PARTS: tuple[Part, ...] = get_args(Part)
WORDS = " ".join(f"word{i} and what it says;" for i in range(3000))


@pytest.fixture
def tokenizer(trained: Model) -> Any:
    return trained.tokenizer


def chunks(found: Windows) -> set[tuple[int, ...]]:
    return {tuple(row) for row in found.ids.tolist()}


@pytest.fixture(params=["speeches", "topics"])
def builtin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The built-in text, with its package and without."""
    if request.param == "topics":
        monkeypatch.setattr(text, "find_spec", lambda name: None)
    return "builtin"


def test_the_parts_of_the_builtin_text_share_no_window(tokenizer: Any, builtin: str) -> None:
    found = [windows(builtin, tokenizer, part=part, count=40, length=64) for part in PARTS]
    for a, b in combinations(found, 2):
        assert not chunks(a) & chunks(b)
    require_disjoint(found)
    assert [w.text for w in found] == [f"builtin/{part}" for part in PARTS]


def test_the_parts_of_the_builtin_text_share_no_long_paragraph(builtin: str) -> None:
    found = [{p.strip() for p in text._builtin(part).split("\n\n")} for part in PARTS]
    for a, b in combinations(found, 2):
        assert not {p for p in a & b if len(p) >= 200}


def test_the_test_part_is_from_2000_onward() -> None:
    years = [year for year, _ in text._speeches()]
    assert min(years) < 1946
    assert max(years) >= 2000
    held_out = "\n\n".join(speech for year, speech in text._speeches() if year >= 2000)
    assert set(text._builtin("test").split("\n\n")) == set(held_out.split("\n\n"))
    assert len(text._builtin("test")) > 0.99 * len(held_out)


def test_a_seed_fixes_the_windows_and_another_changes_them(tokenizer: Any) -> None:
    first, again, other = (
        windows("builtin", tokenizer, part="search", count=8, length=64, seed=seed) for seed in (0, 0, 1)
    )
    assert first.sha256 == again.sha256
    assert first.ids.tolist() == again.ids.tolist()
    assert first.sha256 != other.sha256


@pytest.mark.parametrize("part", ["calibration", "test"])
def test_a_local_file_is_read_in_order_from_its_start(tmp_path: Path, tokenizer: Any, part: Part) -> None:
    file = tmp_path / "words.txt"
    file.write_text(WORDS, encoding="utf-8")
    found = windows(str(file), tokenizer, part=part, count=5, length=40, seed=3)
    assert found.ids.flatten().tolist() == tokenizer(WORDS, add_special_tokens=False)["input_ids"][:200]
    assert found.starts == (0, 40, 80, 120, 160)
    assert found.text == "words.txt"


def test_the_parts_of_a_long_local_file_are_disjoint_and_of_a_short_one_refused(tmp_path: Path, tokenizer: Any) -> None:
    file = tmp_path / "words.txt"
    file.write_text(WORDS, encoding="utf-8")
    parts: tuple[Part, ...] = ("calibration", "search", "selection")
    found = [windows(str(file), tokenizer, part=part, count=10, length=64) for part in parts]
    require_disjoint(found)
    assert len(set().union(*map(chunks, found))) == 30
    every = len(tokenizer(WORDS, add_special_tokens=False)["input_ids"]) // 64
    greedy = windows(str(file), tokenizer, part="calibration", count=every, length=64)
    with pytest.raises(SecateurError, match=r"words\.txt is too short to calibrate, search and select"):
        require_disjoint([greedy, *found[1:]])
    with pytest.raises(SecateurError, match=r"too short for .* selection windows"):
        windows(str(file), tokenizer, part="selection", count=every // 5, length=64)


def test_a_jsonl_file_is_its_text_fields(tmp_path: Path, tokenizer: Any) -> None:
    texts = ["one line\u2028and one more", "a next\x85line", WORDS]  # separators that only look like a line's end
    file = tmp_path / "rows.jsonl"
    rows = [json.dumps({"text": t, "url": "x"}, ensure_ascii=False) for t in texts]
    file.write_text("\n".join([*rows, ""]), encoding="utf-8")
    found = windows(str(file), tokenizer, part="calibration", count=4, length=32)
    joined = tokenizer("\n\n".join(texts), add_special_tokens=False)["input_ids"]
    assert found.ids.flatten().tolist() == joined[:128]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.txt", b"", "is empty"),
        ("blank.txt", b" \n\n\t ", "is empty"),
        ("none.jsonl", b"\n", "is empty"),
        ("short.txt", b"only a few words", r"tokens are too few for 4 windows of 32 \(calibration\)"),
        ("latin.txt", "caf\xe9 ".encode("latin-1") * 500, r"is not UTF-8 text \(byte 3\)"),
        ("broken.jsonl", b'{"text": "a"}\n{"text": ', 'every line must be a JSON object with a "text" field'),
        ("other.jsonl", b'{"body": "a"}\n', 'every line must be a JSON object with a "text" field'),
        ("list.jsonl", b'["text"]\n', 'every line must be a JSON object with a "text" field'),
        ("number.jsonl", b'{"text": null}\n', 'every line must be a JSON object with a "text" field'),
    ],
)
def test_a_file_that_cannot_be_used_gets_one_line(
    tmp_path: Path, tokenizer: Any, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SecateurError, match=says) as caught:
        windows(str(tmp_path / name), tokenizer, part="calibration", count=4, length=32)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_or_not_text_gets_one_line(tmp_path: Path, tokenizer: Any) -> None:
    with pytest.raises(SecateurError, match="no such file"):
        windows(str(tmp_path / "gone.txt"), tokenizer, part="test", count=1, length=32)
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(SecateurError, match="cannot be read"):
        windows(str(tmp_path / "folder.txt"), tokenizer, part="test", count=1, length=32)
    with pytest.raises(
        UsageError, match=r"wikitext: text comes from builtin, wikitext2, c4 or a \.txt or \.jsonl file"
    ):
        windows("wikitext", tokenizer, part="test", count=1, length=32)


def test_the_first_windows_are_their_own_text(tokenizer: Any) -> None:
    found = windows("builtin", tokenizer, part="search", count=6, length=32)
    assert found.first(6).sha256 == found.sha256
    assert found.first(2).sha256 != found.sha256
    assert found.first(2).ids.tolist() == found.ids[:2].tolist()
    assert found.first(2).starts == found.starts[:2]


def test_gemma_windows_start_with_bos(tokenizer: Any) -> None:
    class GemmaTokenizer:
        """A real tokenizer under Gemma's name."""

        bos_token_id = 7

        def __call__(self, *args: Any, **settings: Any) -> Any:
            return tokenizer(*args, **settings)

    plain = windows("builtin", tokenizer, part="test", count=3, length=32)
    found = windows("builtin", GemmaTokenizer(), part="test", count=3, length=33)  # type: ignore[arg-type]
    assert found.ids[:, 0].tolist() == [7, 7, 7]
    assert found.ids[:, 1:].tolist() == plain.ids.tolist()
