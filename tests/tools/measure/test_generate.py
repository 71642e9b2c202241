"""Continuations: the likeliest token each time, whatever the checkpoint says, in every network that can be pruned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf

from tests.tools.mixtures import mixture
from tools.io.errors import SecateurError, UsageError
from tools.measure.generate import NEW_TOKENS, PROMPT_TOKENS, continuations, ends_of, greedy, openings, protocol
from tools.model.checkpoint import Model
from tools.prune.experts.mixtures import ResidentExperts
from tools.text.prompts import read_prompts
from tools.text.windows import windows

PROMPT = "The state of the union is"


def plainly(network: Any, ids: list[int], new: int) -> list[int]:
    """The same without a cache: everything is read again for every token."""
    for _ in range(new):
        with torch.no_grad():
            logits = network(torch.tensor([ids]), use_cache=False).logits
        ids = [*ids, int(logits[0, -1].argmax())]
    return ids[-new:]


def test_a_continuation_is_the_likeliest_token_each_time_whatever_generation_config_says(trained: Model) -> None:
    ids = trained.tokenizer(PROMPT)["input_ids"]
    expected = plainly(trained.network, ids, 20)
    hostile = {"repetition_penalty": 5.0, "do_sample": True, "temperature": 2.0, "min_new_tokens": 20, "num_beams": 3}
    trained.network.generation_config = tf.GenerationConfig(**hostile)
    torch.manual_seed(0)
    asked = trained.network.generate(torch.tensor([ids]), max_new_tokens=20)
    assert asked[0, len(ids) :].tolist() != expected  # or nothing was tried
    told: list[int] = []
    found = continuations(trained, [PROMPT, "Thank you"], 20, told.append)
    assert told == [1, 2]
    assert [(said.prompt, said.tokens) for said in found] == [(PROMPT, 20), ("Thank you", 20)]
    assert found[0].text == trained.tokenizer.decode(expected)
    assert found[0].text.strip()
    assert found[0].tokens_per_second == pytest.approx(20 / found[0].seconds)
    assert (protocol(trained, 20).decoding, protocol(trained, 20).new) == ("greedy", 20)


def test_every_family_reads_on_from_its_cache(random_model: Model) -> None:
    ids = list(range(8, 20))
    assert greedy(random_model.network, ids, 12) == plainly(random_model.network, ids, 12)


@pytest.mark.parametrize("family", ["mixtral", "qwen2_moe", "qwen3_moe"])
def test_a_model_whose_experts_fell_reads_on_from_its_cache(family: str) -> None:
    model, ids = mixture(family), list(range(8, 20))
    experts = ResidentExperts(model)
    dense = greedy(model.network, ids, 12)
    experts.keep({of.experts: torch.tensor([0, 2, 3]) for of in experts.mixtures})
    assert greedy(model.network, ids, 12) == plainly(model.network, ids, 12) != dense


def test_a_network_without_a_cache_reads_everything_again() -> None:
    torch.manual_seed(0)
    network = tf.OpenAIGPTLMHeadModel(
        tf.OpenAIGPTConfig(vocab_size=64, n_positions=64, n_embd=32, n_layer=2, n_head=4)
    ).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    assert greedy(network, [8, 9, 10], 12) == plainly(network, [8, 9, 10], 12)


def test_a_token_that_ends_texts_ends_a_continuation_and_is_no_text(trained: Model) -> None:
    written = plainly(trained.network, trained.tokenizer(PROMPT)["input_ids"], 20)
    place = next(i for i, token in enumerate(written) if i > 3 and token not in written[:i])
    trained.network.generation_config.eos_token_id = [0, written[place]]
    (found,) = continuations(trained, [PROMPT], 20)
    assert found.tokens == place + 1
    assert found.text == trained.tokenizer.decode(written[:place])
    trained.network.generation_config.eos_token_id = written[0]
    assert continuations(trained, [PROMPT], 20)[0].text == ""
    trained.network.generation_config.eos_token_id = None
    trained.network.config.eos_token_id = 7
    assert ends_of(trained.network) == {7}


def test_what_cannot_be_continued_is_one_line(trained: Model) -> None:
    with pytest.raises(SecateurError, match=r"^there is no prompt to continue$"):
        continuations(trained, [], 4)
    with pytest.raises(SecateurError, match=r"^prompt 2 is empty"):
        continuations(trained, [PROMPT, ""], 4)
    long = "state " * 400
    tokens = len(trained.tokenizer(long)["input_ids"])
    with pytest.raises(SecateurError, match=rf"^tiny has 512 positions, too few for prompt 2 of {tokens:,} and 4 new"):
        continuations(trained, [PROMPT, long], 4)
    with torch.no_grad():
        trained.network.lm_head.weight.fill_(torch.nan)
    with pytest.raises(SecateurError, match=r"^tiny cannot continue prompt 1: its logits are not numbers$"):
        continuations(trained, [PROMPT], 4)


def test_what_a_network_trips_over_is_one_line(trained: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object, **more: object) -> None:
        raise TypeError("no cache of that kind\nand more")

    monkeypatch.setattr(trained.network, "forward", fail)
    with pytest.raises(SecateurError, match=r"^tiny cannot continue prompt 1: no cache of that kind$"):
        continuations(trained, [PROMPT], 4)


def test_a_run_continues_the_first_tokens_of_the_first_windows(trained: Model) -> None:
    found = windows("builtin", trained, part="test", count=4, length=64)
    texts = openings(trained, found)
    assert list(texts) == [trained.tokenizer.decode(row) for row in found.ids[:3, :PROMPT_TOKENS].tolist()]
    assert len(openings(trained, found.first(2))) == 2
    assert all(said.tokens <= NEW_TOKENS for said in continuations(trained, texts, NEW_TOKENS))


@pytest.mark.parametrize(
    ("name", "content", "prompts"),
    [
        ("p.txt", b"One \n\n  \nTwo\x0b three\r\n", ("One ", "Two\x0b three")),
        ("p.txt", b"\xef\xbb\xbfOne", ("One",)),
        ("p.jsonl", b'{"prompt": "a\\nb", "more": 1}\n\n{"prompt": " c"}', ("a\nb", " c")),
    ],
)
def test_prompts_are_the_lines_of_a_file(name: str, content: bytes, prompts: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_prompts(tmp_path / name) == prompts


BAD = [
    b"{",
    b"3",
    b'"prompt"',
    b'{"text": "a"}',
    b'{"prompt": 3}',
    b'{"prompt": null}',
    b'{"prompt": "\\ud800"}',
    b'{"prompt": ' + b"[" * 100_000,
]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        *(
            ("p.jsonl", b'{"prompt": "a"}\n\n' + bad, 'p.jsonl: line 3 is no JSON object with a text as "prompt"')
            for bad in BAD
        ),
        ("p.jsonl", b'{"prompt": " "}', "p.jsonl: line 1: the prompt is empty"),
        ("p.txt", b"\n \n", "p.txt: holds no prompt"),
        ("p.jsonl", b"", "p.jsonl: holds no prompt"),
        ("p.txt", b"One\nTwo \xff", "p.txt: line 2 is not UTF-8 text"),
        ("p.txt", b"\xef\xbb\xbfa\n\xff", "p.txt: line 2 is not UTF-8 text"),
        ("p.txt", None, "p.txt: no such file"),
    ],
)
def test_a_file_without_prompts_is_one_line(name: str, content: bytes | None, says: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SecateurError) as told:
        read_prompts(tmp_path / name)
    assert str(told.value) == f"{tmp_path}/{says}"


def test_a_file_of_another_kind_is_wrong_usage_and_a_folder_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"p\.json: prompts come from a \.txt file, one a line, or from a \.jsonl file"
    ):
        read_prompts(tmp_path / "p.json")
    (tmp_path / "p.txt").mkdir()
    with pytest.raises(SecateurError, match=r"p\.txt: cannot be read \(Is a directory\)"):
        read_prompts(tmp_path / "p.txt")
