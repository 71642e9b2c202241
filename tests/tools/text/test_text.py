"""Text: four parts that share nothing, files from their start, one clear line for what cannot be read."""

from __future__ import annotations

import json
import shutil
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import pytest
import transformers as tf

from tools.io.errors import SecateurError, UsageError
from tools.measure.generate import openings, prompt_tokens
from tools.measure.perplexity import perplexity
from tools.model.checkpoint import Model, Reader, open_reader
from tools.model.sample import TINY
from tools.recipe import Calibration, Recipe
from tools.text import sources
from tools.text.provenance import calibrated
from tools.text.sources import Part
from tools.text.tokens import tokens_of
from tools.text.windows import Wanted, Windows, dealt, texts, windows

PARTS: tuple[Part, ...] = get_args(Part)
WORDS = " ".join(f"word{i} and what it says;" for i in range(3000))


END = "<|endoftext|>"


@pytest.fixture(scope="module")
def tiny() -> Reader:
    return open_reader(str(TINY), TINY)


def ids_of(tiny: Reader, text: str) -> list[int]:
    found: list[int] = tiny.tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def overlap(a: Windows, b: Windows) -> bool:
    """Whether two have a token of one stream in common."""
    spans = [range(start, start + of.ids.shape[1]) for of in (a, b) for start in of.starts]
    return a.stream == b.stream and len(set().union(*spans)) < a.tokens + b.tokens


def chunks(found: Windows) -> set[tuple[int, ...]]:
    return {tuple(row) for row in found.ids.tolist()}


@pytest.fixture(params=["speeches", "topics"])
def builtin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The built-in text, with its package and without."""
    if request.param == "topics":
        monkeypatch.setattr(sources, "find_spec", lambda name: None)
    return "builtin"


def test_the_parts_of_the_builtin_text_share_no_window(tiny: Reader, builtin: str) -> None:
    found = [windows(builtin, tiny, part=part, count=40, length=64) for part in PARTS]
    for a, b in combinations(found, 2):
        assert not chunks(a) & chunks(b)
        assert not overlap(a, b)
    assert [w.text for w in found] == [f"builtin/{part}" for part in PARTS]


def test_the_parts_of_the_builtin_text_share_no_long_paragraph(builtin: str) -> None:
    found = [{p.strip() for p in sources._builtin(part).split("\n\n")} for part in PARTS]
    for a, b in combinations(found, 2):
        assert not {p for p in a & b if len(p) >= 200}


def test_the_test_part_is_from_2000_onward() -> None:
    folder = sources._speeches()
    assert folder is not None
    speeches = [(int(path.name[:4]), path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.txt"))]
    years = [year for year, _ in speeches]
    assert min(years) < 1946
    assert max(years) >= 2000
    held_out = "\n\n".join(speech for year, speech in speeches if year >= 2000)
    assert set(sources._builtin("test").split("\n\n")) == set(held_out.split("\n\n"))
    assert len(sources._builtin("test")) > 0.99 * len(held_out)


def test_a_seed_fixes_the_windows_and_another_changes_them(tiny: Reader) -> None:
    first, again, other = (windows("builtin", tiny, part="search", count=8, length=64, seed=seed) for seed in (0, 0, 1))
    assert first.sha256 == again.sha256
    assert first.ids.tolist() == again.ids.tolist()
    assert first.sha256 != other.sha256


@pytest.mark.parametrize("part", ["calibration", "test"])
def test_a_local_file_is_read_in_order_from_its_start(tmp_path: Path, tiny: Reader, part: Part) -> None:
    file = tmp_path / "words.txt"
    file.write_text(WORDS, encoding="utf-8")
    found = windows(str(file), tiny, part=part, count=5, length=40, seed=3)
    assert found.ids.flatten().tolist() == ids_of(tiny, WORDS)[:200]
    assert found.starts == (0, 40, 80, 120, 160)
    assert found.text == "words.txt"


FOUR: dict[Part, tuple[int, int]] = {"calibration": (40, 64), "search": (9, 32), "selection": (9, 32), "test": (4, 128)}
"""Windows and their length: of every part another."""


def asked(sources: dict[Part, str], sizes: dict[Part, tuple[int, int]] = FOUR) -> dict[Part, Wanted]:
    return {part: Wanted(source, *sizes[part]) for part, source in sources.items()}


@pytest.mark.parametrize("other", ["same", "link", "copy", "jsonl", "relative"])
def test_one_file_for_everything_is_dealt_into_parts_that_share_nothing(
    tmp_path: Path, tiny: Reader, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "words.txt"
    file.write_text(WORDS, encoding="utf-8")
    again = {"jsonl": tmp_path / "again.jsonl", "relative": Path("words.txt"), "same": file}.get(
        other, tmp_path / "again.txt"
    )
    match other:
        case "link":
            again.symlink_to(file)
        case "copy":
            shutil.copy(file, again)
        case "jsonl":
            again.write_text(json.dumps({"text": WORDS}), encoding="utf-8")
        case _:
            monkeypatch.chdir(tmp_path)
    all_of_it: dict[Part, str] = dict.fromkeys(PARTS, str(file)) | {"test": str(again)}
    found = texts(tiny, asked(all_of_it))
    assert not any(overlap(a, b) for a, b in combinations(found.values(), 2))
    ids = ids_of(tiny, WORDS)
    begin = {"calibration": 0, "test": 6, "search": 8, "selection": 9}
    for part, of in found.items():
        start = len(ids) * begin[part] // 10
        assert of.ids.flatten().tolist() == ids[start : start + of.tokens]
    assert found["test"].text == f"{again.name} (60 to 80 %)"
    assert dealt(found) == [
        "one file, dealt into parts that share nothing: calibration from words.txt (first 60 %), search from words.txt "
        f"(80 to 90 %), selection from words.txt (last 10 %), test from {again.name} (60 to 80 %)"
    ]
    # A worker asks for its parts one by one.
    for part in ("calibration", "search", "selection"):
        assert windows(str(file), tiny, part=part, count=FOUR[part][0], length=FOUR[part][1]).sha256 == (
            found[part].sha256
        )


def test_a_file_beside_the_builtin_text_is_read_as_far_as_it_is_free(tmp_path: Path, tiny: Reader) -> None:
    file = tmp_path / "words.txt"
    file.write_text(WORDS, encoding="utf-8")
    every = len(ids_of(tiny, WORDS)) // 64
    (tmp_path / "more.txt").write_text(f"More. {WORDS}", encoding="utf-8")
    apart: dict[Part, str] = {"calibration": str(file), "test": str(tmp_path / "more.txt")}
    found = texts(tiny, asked(apart, FOUR | {"calibration": (every, 64)}))
    assert (found["calibration"].text, found["test"].text, dealt(found)) == ("words.txt", "more.txt", [])
    searched = asked(
        apart | {"search": str(file), "selection": str(file)}, FOUR | {"calibration": (every * 4 // 5, 64)}
    )
    found = texts(tiny, searched)
    assert not any(overlap(a, b) for a, b in combinations(found.values(), 2))
    assert found["calibration"].text == "words.txt (first 80 %)"


def test_a_file_that_is_too_short_says_what_it_has_and_what_all_uses_need(tmp_path: Path, tiny: Reader) -> None:
    file = tmp_path / "words.txt"
    file.write_text(WORDS[:6000], encoding="utf-8")
    tokens = len(ids_of(tiny, WORDS[:6000]))
    every: dict[Part, str] = dict.fromkeys(PARTS, str(file))
    with pytest.raises(SecateurError) as caught:
        texts(tiny, asked(every))
    least = 40 * 64 * 10 // 6 + 1  # calibration needs the most of its share
    assert str(caught.value) == (
        f"{file}: {tokens:,} tokens are too few for 40 windows of 64 (calibration, first 60 %) and 9 windows of 32 "
        "(search, 80 to 90 %) and 9 windows of 32 (selection, last 10 %) and 4 windows of 128 (test, 60 to 80 %), "
        f"which need {least:,}; give a longer text, fewer windows or shorter ones"
    )
    text = tiny.tokenizer.decode(ids_of(tiny, WORDS)[: least - 1])
    file.write_text(text, encoding="utf-8")
    assert len(ids_of(tiny, text)) == least - 1
    with pytest.raises(SecateurError, match=f"{least - 1:,} tokens are too few"):
        texts(tiny, asked(every))
    file.write_text(tiny.tokenizer.decode(ids_of(tiny, WORDS)[:least]), encoding="utf-8")
    assert len(texts(tiny, asked(every))) == 4


def test_a_text_that_the_model_was_calibrated_on_is_said_with_the_number(tmp_path: Path, tiny: Reader) -> None:
    file, copy = tmp_path / "mine.txt", tmp_path / "yours.txt"
    file.write_text(WORDS, encoding="utf-8")
    shutil.copy(file, copy)
    (tmp_path / "other.txt").write_text(WORDS + "!", encoding="utf-8")
    recipe = Recipe(metric="W", sparsity=0.5, calibration=Calibration(source=str(file), windows=4, length=64))
    recipe.save(tmp_path / "recipe.yaml")
    pruned = Reader("pruned", tmp_path, tiny.tokenizer, tiny.config)

    def notes(name: str, part: Part = "test") -> tuple[str, ...]:
        return windows(str(tmp_path / name), pruned, part=part, count=2, length=64).notes

    assert notes("mine.txt") == ("of what the model was calibrated on",)
    assert notes("yours.txt") == ("of what the model was calibrated on",)
    assert notes("other.txt") == notes("mine.txt", "search") == notes("mine.txt", "calibration") == ()
    assert windows("builtin", pruned, part="test", count=2, length=64).notes == ()
    assert calibrated(tmp_path, str(file), 255) == ("of what the model was calibrated on",)
    assert calibrated(tmp_path, str(file), 256) == ()
    (tmp_path / "elsewhere").mkdir()
    file.rename(tmp_path / "elsewhere" / "mine.txt")
    assert notes("elsewhere/mine.txt") == ("of a file that has the name of what the model was calibrated on",)
    (tmp_path / "recipe.yaml").write_text("pruning_stage:\n  modifiers: {}\n")
    assert notes("elsewhere/mine.txt") == ()


def test_a_jsonl_file_is_its_text_fields(tmp_path: Path, tiny: Reader) -> None:
    lines = ["one line\u2028and one more", "a next\x85line", WORDS]  # separators that only look like a line's end
    file = tmp_path / "rows.jsonl"
    rows = [json.dumps({"text": t, "url": "x"}, ensure_ascii=False) for t in lines]
    file.write_text("\n".join([*rows, ""]), encoding="utf-8")
    found = windows(str(file), tiny, part="calibration", count=4, length=32)
    joined = ids_of(tiny, "\n\n".join(lines))
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
        ("deep.jsonl", b"[" * 50_000 + b"]" * 50_000, 'every line must be a JSON object with a "text" field'),
    ],
)
def test_a_file_that_cannot_be_used_gets_one_line(
    tmp_path: Path, tiny: Reader, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SecateurError, match=says) as caught:
        windows(str(tmp_path / name), tiny, part="calibration", count=4, length=32)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_or_not_text_gets_one_line(tmp_path: Path, tiny: Reader) -> None:
    with pytest.raises(SecateurError, match="no such file"):
        windows(str(tmp_path / "gone.txt"), tiny, part="test", count=1, length=32)
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(SecateurError, match="cannot be read"):
        windows(str(tmp_path / "folder.txt"), tiny, part="test", count=1, length=32)
    with pytest.raises(
        UsageError, match=r"wikitext: text comes from builtin, wikitext2, c4 or a \.txt or \.jsonl file"
    ):
        windows("wikitext", tiny, part="test", count=1, length=32)


def test_the_first_windows_are_their_own_text(tiny: Reader) -> None:
    found = windows("builtin", tiny, part="search", count=6, length=32)
    assert found.first(6).sha256 == found.sha256
    assert found.first(2).sha256 != found.sha256
    assert found.first(2).ids.tolist() == found.ids[:2].tolist()
    assert found.first(2).starts == found.starts[:2]


def tokenizer_of(folder: Path, *, kind: str, bos: str | None, adds: bool) -> Any:
    """The sample's tokenizer under another class, with a BOS or none, which it puts before a text or does not."""
    folder.mkdir()
    written = json.loads((TINY / "tokenizer.json").read_text())
    written["added_tokens"].append(written["added_tokens"][0] | {"id": 512, "content": "<bos>"})
    if adds:
        bos_first = [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
        end_last = [{"SpecialToken": {"id": END, "type_id": 0}}]
        tokens = {name: {"id": name, "ids": [i], "tokens": [name]} for name, i in (("<bos>", 512), (END, 0))}
        written["post_processor"] = {
            "type": "TemplateProcessing",
            "single": bos_first + end_last,
            "pair": [*bos_first, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": tokens,
        }
    (folder / "tokenizer.json").write_text(json.dumps(written))
    config = json.loads((TINY / "tokenizer_config.json").read_text()) | {"tokenizer_class": kind}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | ({} if bos is None else {"bos_token": bos})))
    return tf.AutoTokenizer.from_pretrained(folder, local_files_only=True)


SMALL = {"vocab_size": 513, "num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 4}
GEMMAS = {
    "gemma": tf.GemmaConfig(**SMALL),
    "gemma2": tf.Gemma2Config(**SMALL),
    "gemma3": tf.Gemma3Config(text_config=tf.Gemma3TextConfig(**SMALL)),
    "gemma3_text": tf.Gemma3TextConfig(**SMALL),
    "gemma3n": tf.Gemma3nConfig(text_config=tf.Gemma3nTextConfig(**SMALL)),
    "recurrent_gemma": tf.RecurrentGemmaConfig(**SMALL),
}
BOS = {"bos": "<bos>", "adds": True}
NO_BOS = {"bos": "<bos>", "adds": False}


@pytest.mark.parametrize("kind", ["PreTrainedTokenizerFast", "TokenizersBackend"])
@pytest.mark.parametrize(
    ("config", "settings", "begin"),
    [
        *((config, NO_BOS, [512]) for config in GEMMAS.values()),
        (GEMMAS["gemma2"], BOS, [512]),
        (GEMMAS["gemma2"], {"bos": None, "adds": False}, [2]),  # as its configuration has it
        (tf.LlamaConfig(**SMALL), BOS, [512]),
        (tf.LlamaConfig(**SMALL), NO_BOS, []),
        (tf.Qwen2Config(**SMALL), {"bos": None, "adds": False}, []),
    ],
    ids=lambda value: getattr(value, "model_type", str(value)),
)
def test_windows_begin_with_bos_by_model_type_and_by_what_the_tokenizer_adds(
    tmp_path: Path, kind: str, config: Any, settings: Any, begin: list[int]
) -> None:
    tokenizer = tokenizer_of(tmp_path / "tokenizer", kind=kind, **settings)
    file = tmp_path / "words.txt"
    file.write_text(WORDS[:3000], encoding="utf-8")
    found = windows(str(file), Reader("m", tmp_path, tokenizer, config), part="test", count=3, length=32)
    assert found.ids.shape == (3, 32)
    assert found.ids[:, : len(begin)].tolist() == [begin] * 3
    text = tokenizer(WORDS[:3000], add_special_tokens=False)["input_ids"]
    assert found.ids[:, len(begin) :].flatten().tolist() == text[: 3 * (32 - len(begin))]
    assert found.begin == "".join(tokenizer.convert_ids_to_tokens(begin))
    assert found.first(1).begin == found.begin
    reader = Reader("m", tmp_path, tokenizer, config)
    assert openings(reader, found) == tuple(tokenizer.decode(ids) for ids in found.ids[:, len(begin) :].tolist())
    said = "".join(tokenizer.convert_ids_to_tokens(begin))
    once, twice = prompt_tokens(reader, ["word", f"{said}word"], 1)
    assert once == begin + tokenizer("word", add_special_tokens=False)["input_ids"]
    assert twice == once


def test_a_gemma_without_any_bos_is_refused(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(tmp_path / "tokenizer", kind="TokenizersBackend", bos=None, adds=False)
    config = tf.Gemma2Config(**SMALL, bos_token_id=None)
    with pytest.raises(SecateurError, match="m: a Gemma reads every text after BOS, and neither its tokenizer nor its"):
        windows("builtin", Reader("m", tmp_path, tokenizer, config), part="test", count=1, length=32)


def test_the_protocol_says_what_windows_begin_with_and_what_is_odd_about_them(trained: Model, draw: Any) -> None:
    plain = draw(2, 16, 512)
    assert perplexity(trained, plain).protocol.read == "2 windows of 16 tokens"
    begun = Windows(plain.ids, "t", "0", "t", plain.starts, "<bos>", ("longer than it should be",))
    found = perplexity(trained, begun.first(1)).protocol
    assert found.read == "1 windows of 16 tokens, each after <bos>, longer than it should be"
    assert (found.begin, found.notes) == ("<bos>", ("longer than it should be",))


def test_tokens_are_those_of_the_tokenizer_and_of_no_other(tmp_path: Path, tiny: Reader) -> None:
    other = tokenizer_of(tmp_path / "other", kind="PreTrainedTokenizerFast", bos=None, adds=False)
    plain = other(WORDS, add_special_tokens=False)["input_ids"]
    for _ in range(2):
        assert tokens_of(tiny.tokenizer, WORDS).tolist() == ids_of(tiny, WORDS)
        assert tokens_of(other, WORDS).tolist() == plain
        assert tokens_of(tiny.tokenizer, WORDS[:-9]).tolist() == ids_of(tiny, WORDS[:-9])
    other.add_tokens(["says"])
    changed = other(WORDS, add_special_tokens=False)["input_ids"]
    assert changed != plain
    assert tokens_of(other, WORDS).tolist() == changed
