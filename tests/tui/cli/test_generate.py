"""`secateur evaluate --generate`: two models' texts one under the other, the same as JSON, bad input as one line."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.session.settings import Settings
from tui.cli import run
from tui.text.continuations import parting

Save = Callable[..., Path]
NASTY = "the \x1b[31m state\x9b of"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty home, and prompts in the current folder."""
    monkeypatch.setenv("SECATEUR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.txt").write_text("The state of the union is\n\nThank you\n")
    (tmp_path / "nasty.jsonl").write_text(json.dumps({"prompt": NASTY}))


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["evaluate", "tiny", *arguments, "--threads", "1"]) == 0
    return capsys.readouterr().out


def test_json_is_one_object_with_the_other_model_in_the_same_form(
    save_random: Save, capsys: pytest.CaptureFixture[str]
) -> None:
    save_random("other", merges=20)  # with other tokens
    found = json.loads(printed(capsys, "--against", "other", "--generate", "prompts.txt", "--new", "6", "--json"))
    assert found.keys() == {"model", "protocol", "prompts", "against"}
    assert found["against"].keys() == found.keys() - {"against"}
    assert (found["model"], found["against"]["model"]) == ("tiny", "other")
    said = found["protocol"]
    assert (said["decoding"], said["new"], said["begin"]) == ("greedy", 6, "")
    assert (said["dtype"], said["device"], said["threads"]) == ("float32", "cpu", 1)
    assert said["libraries"].keys() == {"torch", "transformers"}
    for prompts in (found["prompts"], found["against"]["prompts"]):
        assert [said["prompt"] for said in prompts] == ["The state of the union is", "Thank you"]
        assert all(said.keys() == {"prompt", "text", "tokens", "tokens_per_second"} for said in prompts)
        assert all(1 <= said["tokens"] <= 6 and said["tokens_per_second"] > 0 for said in prompts)
    assert [s["text"] for s in found["prompts"]] != [s["text"] for s in found["against"]["prompts"]]
    alone = json.loads(printed(capsys, "--generate", "prompts.txt", "--new", "6", "--json"))
    assert alone.keys() == {"model", "protocol", "prompts"}
    assert [s["text"] for s in alone["prompts"]] == [s["text"] for s in found["prompts"]]


def test_texts_stand_one_under_the_other_and_a_model_writes_the_same_as_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = printed(capsys, "--against", "tiny", "--generate", "prompts.txt").splitlines()
    assert [line for line in lines if line.startswith("prompt ")] == ["prompt 1", "prompt 2"]
    assert lines[1] == "  The state of the union is"
    assert lines.count("the same") == 2
    heads = [i for i, line in enumerate(lines) if line.startswith("tiny   64 tokens, ")]
    assert len(heads) == 4
    ours, theirs = (lines[i + 1 : lines.index("", i + 1)] for i in heads[:2])
    assert ours == theirs
    assert all(len(line) <= 60 for line in lines[:-1])
    assert all(line == line.rstrip() for line in lines)
    assert lines[-1].startswith("greedy, at most 64 new tokens; float32 on cpu (")
    alone = printed(capsys, "--generate", "prompts.txt", "--new", "3")
    assert "the same" not in alone
    assert alone.count("tiny   3 tokens") == 2


def test_where_two_texts_part_is_told() -> None:
    assert parting(" a b", " a b") == ["the same"]
    assert parting("one way", "another") == ["different from the start"]
    assert parting("the good\x1b end", "the good\x1b start") == [
        "the same for the first 10 characters, up to “the good?”"
    ]
    assert parting("x" * 40 + "a", "x" * 40) == [f"the same for the first 40 characters, up to “…{'x' * 30}”"]


def test_what_a_file_or_a_model_says_does_not_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--generate", "nasty.jsonl", "--new", "3")
    assert text.splitlines()[1] == "  the ?[31m state? of"
    data = printed(capsys, "--generate", "nasty.jsonl", "--new", "3", "--json")
    assert not {"\x1b", "\x9b"} & set(data)
    assert json.loads(data)["prompts"][0]["prompt"] == NASTY


def test_one_model_is_held_at_a_time(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    opened, networks = Settings.opened, list[Any]()

    def watched(*arguments: Any) -> Any:
        assert all(network() is None for network in networks)
        model = opened(*arguments)
        networks.append(weakref.ref(model.network))
        return model

    monkeypatch.setattr(Settings, "opened", watched)
    printed(capsys, "--against", "tiny", "--generate", "prompts.txt", "--new", "3")
    assert len(networks) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--generate", "prompts.txt", "--latency"], 2, "--latency and --generate are asked for"),
        (
            ["--generate", "prompts.txt", "--windows", "3"],
            2,
            "--windows is for perplexity, which --generate does not measure",
        ),
        (
            ["--generate", "prompts.txt", "--length", "64"],
            2,
            "--length is for perplexity, which --generate does not measure",
        ),
        (
            ["--generate", "prompts.txt", "--text", "c4"],
            2,
            "--text is for perplexity, which --generate does not measure",
        ),
        (["--generate", "prompts.txt", "--batch", "1"], 2, "--batch is for speed: add --latency"),
        (["--generate", "prompts.txt", "--prompt", "8"], 2, "--prompt is for speed: add --latency"),
        (["--generate", "prompts.txt", "--repeats", "2"], 2, "--repeats is for speed: add --latency"),
        (["--generate", "prompts.txt", "--new", "0"], 2, "Invalid value for '--new'"),
        (["--new", "8"], 2, "--new is for speed or continuations: add --latency or --generate, or leave it out"),
        (["--generate", "prompts.md"], 2, "prompts.md: prompts come from a .txt file"),
        (["--generate", "none.txt"], 1, "none.txt: no such file"),
        (["--generate", "bad.jsonl"], 1, "bad.jsonl: line 2 is no JSON object"),
        (["--generate", "prompts.txt", "--new", "600"], 1, "tiny has 512 positions, too few for prompt 1 of "),
        (["--generate", "prompts.txt", "--against", "short"], 1, "short has 16 positions, too few for prompt 1 of "),
        (["--generate", "prompts.txt", "--against", "./nowhere"], 1, "./nowhere does not exist"),
    ],
)
def test_what_cannot_be_continued_is_one_line_before_anything_is_opened(
    arguments: list[str],
    code: int,
    says: str,
    save_random: Save,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delattr(Settings, "opened")
    save_random("short", max_position_embeddings=16)
    Path("bad.jsonl").write_text('{"prompt": "a"}\nb\n')
    assert run(["evaluate", "tiny", *arguments]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("secateur: ")
    assert said.err.count("\n") == 1
    assert says in said.err
