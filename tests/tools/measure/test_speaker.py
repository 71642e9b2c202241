"""How a model answers: BOS, batches, too little memory, whole texts and generation, against plain computations."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf

from tests.tools.asking import Answers, InProcess, forwards, log_likelihood, questions, tokens_of
from tests.tools.text.test_text import BOS, NO_BOS, tokenizer_of
from tools.io.errors import SecateurError, UsageError
from tools.measure.tasks import TaskPlan
from tools.measure.tasks import harness as lm_eval_side
from tools.measure.tasks.speaker import Speaker
from tools.model.architecture import describe
from tools.model.checkpoint import Model, open_model

SMALL: dict[str, Any] = {
    "vocab_size": 513,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
NONE = {"bos": None, "adds": False}
BEGINNINGS = [
    pytest.param(tf.LlamaConfig(**SMALL), BOS, [512], 512, id="added"),
    pytest.param(tf.LlamaConfig(**SMALL), NO_BOS, [], 512, id="only named"),
    pytest.param(tf.LlamaConfig(**SMALL), NONE, [], 0, id="only EOS"),
    pytest.param(tf.Gemma2Config(**SMALL, head_dim=8), NO_BOS, [512], 512, id="Gemma"),
    pytest.param(tf.Gemma2Config(**SMALL, head_dim=8), NONE, [2], 2, id="Gemma, BOS in its configuration"),
]
"""A model, its tokenizer, what its prompts begin with, and what a whole text is scored after."""
TEXT = "The state of the union is strong, and the people of it are not afraid of what may come to them in time. " * 5


def opened(folder: Path, config: Any, tokenizer: Any) -> Model:
    torch.manual_seed(0)
    network = tf.AutoModelForCausalLM.from_config(config).eval()
    for parameter in network.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return Model(
        name="random",
        folder=folder,
        network=network,
        tokenizer=tokenizer_of(folder / "tokenizer", kind="PreTrainedTokenizerFast", **tokenizer),
        architecture=describe(network),
        fingerprint="random",
        dtype="float32",
        device="cpu",
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return open_model("tiny", cache=tmp_path_factory.mktemp("cache"))


def rolled(model: Model, prefix: int, text: str, window: int = 64) -> float:
    """A whole text: each token once, its windows' first tokens after one token more; BOS is never scored."""
    ids = [prefix, *tokens_of(model, text)]
    total, place = 0.0, 1
    while place < len(ids):
        end = min(place + window, len(ids))
        read = ids[max(0, end - 1 - window) : end - 1]
        with torch.inference_mode():
            scores = model.network(torch.tensor([read])).logits[0].float().log_softmax(-1)
        total += float(sum(scores[i - end, ids[i]] for i in range(place, end)))
        place = end
    return total


@pytest.mark.parametrize(("config", "tokenizer", "begin", "prefix"), BEGINNINGS)
def test_a_prompt_begins_with_bos_once_and_a_whole_text_is_scored_after_it(
    tmp_path: Path, config: Any, tokenizer: Any, begin: list[int], prefix: int
) -> None:
    model = opened(tmp_path, config, tokenizer)
    speaker = Speaker(model)
    requests = [["The state of", " the union"], ["What is", " it"], ["What is", " strong"]]
    with forwards(model) as seen:
        answers = speaker.answer("loglikelihood", requests, 64)
    for (prompt, answer), (found, _) in zip(requests, answers, strict=True):
        assert found == pytest.approx(log_likelihood(model, begin, prompt, answer), abs=1e-4)
    for row in (row for ids in seen for row in ids.tolist()):
        assert row[: len(begin)] == begin
        assert [row.count(token) for token in begin] == [1] * len(begin)
    (found,) = speaker.answer("loglikelihood_rolling", [[TEXT]], 64)
    assert len(tokens_of(model, TEXT)) > 2 * 64
    assert found == pytest.approx(rolled(model, prefix, TEXT), abs=1e-3)
    (found,) = speaker.answer("loglikelihood_rolling", [["union"]], 64)
    assert found == pytest.approx(log_likelihood(model, [prefix], "", "union"), abs=1e-4)
    ((found, _),) = speaker.answer("loglikelihood", [["", "union"]], 64)
    assert found == pytest.approx(log_likelihood(model, [prefix], "", "union"), abs=1e-4)


def test_a_text_that_has_bos_already_gets_no_second(tmp_path: Path) -> None:
    model = opened(tmp_path, tf.LlamaConfig(**SMALL), BOS)
    model.tokenizer.chat_template = (
        "<bos>{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %} I say:{% endif %}"
    )
    speaker = Speaker(model)
    prompt = speaker.chat([{"role": "user", "content": "Is it strong?"}], True)
    assert prompt == "<bos>Is it strong? I say:"
    with forwards(model) as seen:
        ((found, _),) = speaker.answer("loglikelihood", [[prompt, " yes"]], 64)
        speaker.answer("generate_until", [[prompt, {"until": ["."], "max_gen_toks": 2}]], 64)
    assert found == pytest.approx(log_likelihood(model, [], prompt, " yes"), abs=1e-4)
    assert [ids.tolist()[0][:1] for ids in seen[:2]] == [[512], [512]]
    assert [ids.tolist()[0].count(512) for ids in seen[:2]] == [1, 1]


def test_a_model_without_a_chat_template_is_told_to_do_without(tiny: Model) -> None:
    with pytest.raises(SecateurError, match=r"^tiny has no chat template: leave --chat out$"):
        Speaker(tiny).chat([{"role": "user", "content": "Hello"}], True)


def test_answers_that_read_the_same_tokens_are_scored_by_their_own_rows(tiny: Model) -> None:
    """A prompt with one more word, and an answer with one less: lm-eval alone would score the first by other rows."""
    requests = [
        ["The state of the union", " is"],
        ["The state of the", " union was"],
        ["The state of the", " union is"],
    ]
    found = Speaker(tiny).answer("loglikelihood", requests, 512)
    expected = [log_likelihood(tiny, [], *request) for request in requests]
    assert [value for value, _ in found] == pytest.approx(expected, abs=1e-4)
    text = "again and " * 60  # its windows repeat
    model_window = 64
    for cut in range(8):
        part = text[: len(text) - cut]
        (value,) = Speaker(_short(tiny, model_window)).answer("loglikelihood_rolling", [[part]], 512)
        assert value == pytest.approx(rolled(tiny, 0, part, model_window), rel=1e-4)


def _short(model: Model, window: int) -> Model:
    """The same with fewer positions."""
    import copy

    made = copy.copy(model)
    made.network = copy.deepcopy(model.network)
    made.network.config.max_position_embeddings = window
    return made


def test_a_prompt_of_nothing_but_space_is_scored_after_the_beginning(tiny: Model) -> None:
    ((found, _),) = Speaker(tiny).answer("loglikelihood", [["\n", "union"]], 64)
    assert found == pytest.approx(log_likelihood(tiny, [0], "", "\nunion"), abs=1e-4)


@pytest.mark.parametrize("kind", ["loglikelihood", "loglikelihood_rolling", "generate_until"])
def test_batches_hold_every_request_once_and_no_more_tokens_than_they_may(tiny: Model, kind: str) -> None:
    speaker = Speaker(tiny)
    rng = random.Random(0)
    prompts = ["strong " * rng.randint(1, 30) + str(rng.randint(0, 9)) for _ in range(40)]
    ways: list[dict[str, Any]] = [{"until": ["."], "max_gen_toks": 5}, {"until": ["\n"], "max_gen_toks": 5}]
    requests: list[list[Any]] = {
        "loglikelihood": [[prompt, answer] for prompt in prompts for answer in (" a", " the")],
        "loglikelihood_rolling": [[prompt] for prompt in prompts],
        "generate_until": [[prompt, ways[i % 2]] for i, prompt in enumerate(prompts)],
    }[kind]
    budget = 150
    batches = speaker.batches(kind, requests, budget)
    assert Counter(place for batch in batches for place in batch) == Counter(range(len(requests)))
    assert 3 < len(batches) < len(prompts)
    assert batches == speaker.batches(kind, requests, budget)
    for batch in batches:
        with forwards(tiny) as seen:
            answers = speaker.answer(kind, [requests[place] for place in batch], budget)
        assert len(answers) == len(batch)
        if kind == "generate_until":
            assert len({repr(requests[place][1]) for place in batch}) == 1
            continue
        assert len(seen) == 1
        assert seen[0].numel() <= budget or len(seen[0]) == 1
        if kind == "loglikelihood":
            for place, (value, _) in zip(batch, answers, strict=True):
                assert value == pytest.approx(log_likelihood(tiny, [], *requests[place]), abs=1e-3)


def test_answers_of_one_token_share_a_forward_pass(tiny: Model) -> None:
    answers = [" a", " the"]
    assert [len(tokens_of(tiny, answer)) for answer in answers] == [1, 1]
    requests = [[f"Is it {number}?\nAnswer:", answer] for number in ("one", "two", "three") for answer in answers]
    speaker = Speaker(tiny)
    (batch,) = speaker.batches("loglikelihood", requests, 512)
    with forwards(tiny) as seen:
        speaker.answer("loglikelihood", [requests[place] for place in batch], 512)
    assert [len(ids) for ids in seen] == [3]


def test_too_little_memory_halves_a_batch(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    speaker = Speaker(tiny)
    requests = [[f"{i} and {i}", f" is {2 * i}"] for i in range(8)]
    expected = speaker.answer("loglikelihood", requests, 512)
    rows: list[int] = []
    room = [3]

    def crowded(module: Any, arguments: Any, named: Any) -> None:
        rows.append(len((named or {}).get("input_ids", arguments[0] if arguments else None)))
        if rows[-1] > room[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")

    handle = tiny.network.register_forward_pre_hook(crowded, with_kwargs=True)
    try:
        found = speaker.answer("loglikelihood", requests, 512)
        assert rows == [8, 4, 2, 2, 4, 2, 2]
        assert [value for value, _ in found] == pytest.approx([value for value, _ in expected], abs=1e-4)
        room[0] = 0
        with pytest.raises(SecateurError, match=r"^one request alone does not fit into memory: use --dtype bfloat16$"):
            speaker.answer("loglikelihood", requests, 512)
    finally:
        handle.remove()


def test_a_size_of_batches_is_found_that_memory_holds(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    speaker = Speaker(tiny)
    found = speaker.batch_tokens(40)
    assert found % 40 == 0
    assert found <= 16_384
    monkeypatch.setattr("tools.measure.tasks.speaker.free_memory", lambda device: 8 * 512 * 2 * 100)
    assert speaker.batch_tokens(40) <= 80
    assert speaker.batch_tokens(10**9) == 512, "never more than the model's positions at once"


def greedy(model: Model, prompt: str, stop: str, most: int) -> str:
    """A plain loop without a cache."""
    ids = tokens_of(model, prompt)
    made: list[int] = []
    while len(made) < most:
        with torch.inference_mode():
            made.append(int(model.network(torch.tensor([ids + made])).logits[0, -1].argmax()))
        if stop in str(model.tokenizer.decode(made)) or made[-1] == model.tokenizer.eos_token_id:
            break
    return str(model.tokenizer.decode(made, skip_special_tokens=True)).split(stop)[0]


def test_generation_is_greedy_and_ends_where_it_is_told(tiny: Model) -> None:
    prompts = ["The state of the union", "We will", "It is time for the people of this nation to"]
    speaker = Speaker(tiny)
    for stop in (" the", ".", "\n\n\n"):
        way = {"until": [stop], "max_gen_toks": 12}
        found = speaker.answer("generate_until", [[prompt, way] for prompt in prompts], 512)
        assert found == [greedy(tiny, prompt, stop, 12) for prompt in prompts]
    assert any(text for text in found)


def test_a_task_that_generates_is_scored_and_a_prompt_without_room_for_the_answer_refused(
    tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = ["The state of the union", "We will"]
    most = 6
    documents = [
        {"ask": prompts[0], "want": greedy(tiny, prompts[0], ".", most).lstrip()},
        {"ask": prompts[1], "want": "no such words"},
    ]

    def generates(name: str, file: object) -> dict[str, Any]:
        import datasets

        return {
            "task": name,
            "custom_dataset": lambda **_: datasets.DatasetDict({"test": datasets.Dataset.from_list(documents)}),
            "output_type": "generate_until",
            "test_split": "test",
            "doc_to_text": "ask",
            "doc_to_target": "want",
            "generation_kwargs": {"until": ["."], "max_gen_toks": most},
            "filter_list": [
                {"name": "strip", "filter": [{"function": "remove_whitespace"}, {"function": "take_first"}]}
            ],
            "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        }

    monkeypatch.setattr(lm_eval_side, "definition", generates)
    monkeypatch.setattr(lm_eval_side, "local_file", lambda folder, name: None)
    speaker = Speaker(tiny)
    heard = Answers(lambda kind, request: speaker.answer(kind, [request], 512)[0])
    found = lm_eval_side.score(lm_eval_side.Tasks(TaskPlan(names=("says",), data="x")), heard)["says"]  # type: ignore[arg-type]
    assert (found.metric, found.value) == ("exact_match (strip)", 0.5)
    assert found.strata[0].outcomes == (1.0, 0.0)
    (request, _) = heard.asked[0]["says"]
    speaker.check("says", "generate_until", [request])
    assert request[1]["max_gen_toks"] == most
    room = 512 - len(tokens_of(tiny, prompts[0]))
    speaker.check("says", "generate_until", [[prompts[0], request[1] | {"max_gen_toks": room}]])
    with pytest.raises(
        SecateurError, match=r"^says: a prompt with its answer has 513 tokens, and tiny has 512 positions"
    ):
        speaker.check("says", "generate_until", [[prompts[0], request[1] | {"max_gen_toks": room + 1}]])


def test_a_prompt_that_the_window_does_not_hold_is_refused(tiny: Model) -> None:
    speaker = Speaker(tiny)
    word = tokens_of(tiny, " the")
    assert len(word) == 1
    fits = [" the" * 512, " the"]
    assert len(tokens_of(tiny, "".join(fits))) == 513, "the last token is scored, not read"
    speaker.check("mine", "loglikelihood", [fits])
    says = (
        "^mine: a prompt with its answer has 513 tokens, and tiny has 512 positions: give fewer --shots, or leave the "
        "task out$"
    )
    with pytest.raises(SecateurError, match=says):
        speaker.check("mine", "loglikelihood", [["a", " b"], [fits[0] + " the", " the"]])
    with pytest.raises(SecateurError, match=r"^mine: an answer has no tokens of its own, so it cannot be scored$"):
        speaker.check("mine", "loglikelihood", [["a", ""]])
    with pytest.raises(SecateurError, match=r"^mine asks about pictures or sounds"):
        speaker.check("mine", "generate_until", [["a", {}, {"visual": []}]])


def test_a_task_defined_without_examples_takes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = lm_eval_side.definition
    monkeypatch.setattr(lm_eval_side, "definition", lambda name, file: whole(name, file) | {"num_fewshot": 0})
    from tests.tools.asking import write_samples

    write_samples(tmp_path, "mine", questions(4))
    InProcess(TaskPlan(names=("mine",), data=str(tmp_path)))
    InProcess(TaskPlan(names=("mine",), data=str(tmp_path), shots=0))
    with pytest.raises(UsageError, match=r"^mine is defined without examples: leave --shots out, or this task$"):
        InProcess(TaskPlan(names=("mine",), data=str(tmp_path), shots=1))


def test_no_number_is_no_answer(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    speaker = Speaker(tiny)
    forward = tiny.network.forward

    def broken(*given: Any, **more: Any) -> Any:
        found = forward(*given, **more)
        found.logits = found.logits * float("nan")
        return found

    monkeypatch.setattr(tiny.network, "forward", broken)
    for kind, request in (("loglikelihood", ["a", " b"]), ("loglikelihood_rolling", ["some words"])):
        with pytest.raises(SecateurError, match=r"^tiny computes what is no number \(NaN\) in float32"):
            speaker.answer(kind, [request], 64)
