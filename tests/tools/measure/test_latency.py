"""Speed: what is timed is what is said to be timed, in turn, and sizes are those of the files and tensors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from tools.io.errors import SecateurError
from tools.io.hardware import cpu_name
from tools.measure import latency
from tools.measure.latency import measure_latency, synchroniser, time_calls
from tools.measure.speed import ELSEWHERE, Latency, Spread, Timing
from tools.model.checkpoint import Model, open_model
from tools.model.packed import compress_folder

Save = Callable[..., Path]
WIDE = {"hidden_size": 128, "intermediate_size": 512}
QUICK = Timing(batches=(2,), prompt=8, new=3, repeats=1)


def opened(folder: Path, **how: Any) -> Model:
    return open_model(str(folder), cache=folder.parent / "cache", **how)


def fed(model: Model, plan: Timing) -> list[torch.Tensor]:
    """Token ids of every forward pass that measuring makes."""
    ids: list[torch.Tensor] = []
    with model.network.register_forward_pre_hook(lambda module, arguments: ids.append(arguments[0])):
        measure_latency([model], plan)
    return ids


def test_calls_are_made_in_turn_between_synchronisations() -> None:
    log: list[str] = []
    calls = [partial(log.append, name) for name in "ab"]
    taken = time_calls(calls, 2, partial(log.append, "|"), warm_up=1)
    assert "".join(log) == "|a||b|" * 3
    assert [len(seconds) for seconds in taken] == [2, 2]


def test_seconds_are_those_of_each_call_and_count_what_the_device_still_does(monkeypatch: pytest.MonkeyPatch) -> None:
    now, pending = [0.0], [0.0]

    def work(seconds: float, later: float = 0.0) -> None:
        now[0] += seconds
        pending[0] += later

    def synchronise() -> None:
        now[0] += pending[0]
        pending[0] = 0.0

    monkeypatch.setattr(latency, "clock", lambda: now[0])
    assert time_calls([partial(work, 1.0), partial(work, 8.0)], 2) == [[1.0, 1.0], [8.0, 8.0]]
    assert time_calls([partial(work, 1.0, later=4.0), partial(work, 0.5)], 2, synchronise) == [[5.0, 5.0], [0.5, 0.5]]
    pending[0] = 16.0  # what was given to the device before is no part of the call
    assert time_calls([partial(work, 1.0)], 1, synchronise, warm_up=0) == [[1.0]]


def test_calls_are_made_without_gradients() -> None:
    weight = torch.ones(2, requires_grad=True)
    seen: list[torch.Tensor] = []
    time_calls([lambda: seen.append(weight * 2)], 1)
    assert [found.requires_grad for found in seen] == [False, False]


def test_a_spread_is_the_median_and_the_quartiles() -> None:
    found = Spread.of([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (found.lower, found.median, found.upper) == (2.0, 3.0, 4.0)
    assert found.rounds == (5.0, 1.0, 2.0, 4.0, 3.0)
    alone = Spread.of([7.0])
    assert (alone.lower, alone.median, alone.upper) == (7.0, 7.0, 7.0)


def test_a_ratio_is_taken_round_by_round() -> None:
    assert Spread.of([1.0, 10.0, 1.0]).under(Spread.of([2.0, 20.0, 2.0])).rounds == (2.0, 2.0, 2.0)
    assert Spread.of([1.0, 10.0, 10.0]).under(Spread.of([2.0, 2.0, 20.0])).median == 2.0


def test_fewer_blocks_take_less_time(save_random: Save) -> None:
    models = [opened(save_random(f"{n}", num_hidden_layers=n, **WIDE)) for n in (8, 1)]
    found = measure_latency(models, Timing(batches=(2,), prompt=48, new=8, repeats=9))
    deep, flat = (speed.times[0] for speed in found.models)
    # The least disturbed round of each: other work on the machine may stretch most of such short ones many times over.
    assert min(deep.prefill.rounds) > 1.5 * min(flat.prefill.rounds)
    assert min(deep.decode.rounds) > 1.5 * min(flat.decode.rounds)
    assert min(deep.blocks.rounds) > 3 * min(flat.blocks.rounds)
    assert [speed.blocks for speed in found.models] == [8, 1]


def test_narrow_blocks_of_one_model_are_timed(save_random: Save) -> None:
    """What compression leaves: blocks of different widths in one network."""
    model = opened(save_random("model", num_hidden_layers=2))
    mlp = model.network.get_submodule("model.layers.1.mlp")
    with torch.no_grad():
        for name in ("gate_proj", "up_proj"):
            linear = mlp.get_submodule(name)
            linear.weight = torch.nn.Parameter(linear.weight[:8].clone())
        mlp.down_proj.weight = torch.nn.Parameter(mlp.down_proj.weight[:, :8].clone())
    found = measure_latency([model], QUICK)
    assert found.models[0].parameters == 2 * 512 * 32 + 32 + 2 * 64 + 2 * 3 * 32 * 32 + 3 * 32 * (48 + 8)


def test_decoding_makes_one_pass_per_token(save_random: Save) -> None:
    plan = Timing(batches=(2, 3), prompt=8, new=5, repeats=2)
    shapes = [tuple(ids.shape) for ids in fed(opened(save_random("model")), plan)]
    for batch in (2, 3):
        rounds = [(batch, 8), *[(batch, 1)] * 5] * 3
        start = shapes.index((batch, 8))
        assert shapes[start : start + len(rounds)] == rounds
    assert len(shapes) == 2 * 3 * 6


def test_decoding_is_greedy_and_no_token_ends_it(save_random: Save) -> None:
    model = opened(save_random("model", num_hidden_layers=2))
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.normal_(std=0.3)
    ids = fed(model, Timing(batches=(2,), prompt=8, new=12, repeats=1))
    written = torch.cat(ids[-13:], dim=1)
    for length in range(8, 20):
        with torch.no_grad():
            plain = model.network(written[:, :length], use_cache=False).logits[:, -1].argmax(-1)
        assert torch.equal(written[:, length], plain)
    assert len(written.unique()) > 4


def test_every_model_reads_the_same_prompt_whatever_its_vocabulary(save_random: Save) -> None:
    models = [opened(save_random(f"{n}", vocab_size=n)) for n in (600, 512)]
    prompts: list[torch.Tensor] = []
    for model in models:
        model.network.register_forward_pre_hook(lambda module, arguments: prompts.append(arguments[0]))
    measure_latency(models, QUICK)
    long = [ids for ids in prompts if ids.shape == (2, 8)]
    assert len(long) == 2 * 2
    assert all(torch.equal(ids, long[0]) for ids in long)


def test_sizes_are_those_of_files_and_tensors(save_random: Save) -> None:
    folder = save_random("model", num_hidden_layers=3, shard="40KB")
    shards = list(folder.glob("*.safetensors"))
    (folder / "notes.bin").write_bytes(b"x" * 1000)
    found = measure_latency([opened(folder)], QUICK).models[0]
    block = 32 * (32 + 16 + 16 + 32 + 3 * 48 + 2)
    assert len(shards) > 1
    assert found.disk_bytes == sum(len(shard.read_bytes()) for shard in shards)
    assert found.parameters == 3 * block + 2 * 512 * 32 + 32
    for shard in shards:
        tensors = load_file(shard)
        save_file(
            {name: t * (torch.arange(t.shape[-1]) % 4 == 0) for name, t in tensors.items()}, shard, {"format": "pt"}
        )
    compress_folder(folder)
    packed = measure_latency([opened(folder)], QUICK).models[0]
    assert packed.disk_bytes == sum(len(file.read_bytes()) for file in folder.glob("*.safetensors")) < found.disk_bytes
    rotary = found.weight_bytes - 4 * found.parameters
    assert 0 <= rotary <= 64
    keys_and_values = 2 * 3 * (2 * 2 * (8 + 3) * 8) * 4
    assert found.times[0].cache_bytes == keys_and_values
    assert found.times[0].peak_bytes == found.weight_bytes + keys_and_values


def test_a_tied_head_counts_once(save_random: Save) -> None:
    apart, tied = (measure_latency([opened(save_random(f"{t}", tie_word_embeddings=t))], QUICK) for t in (False, True))
    assert apart.models[0].parameters - tied.models[0].parameters == 512 * 32


@pytest.mark.usefixtures("work_clock")
def test_a_protocol_says_how_and_rates_follow_from_seconds(save_random: Save) -> None:
    model, told = opened(save_random("model")), list[int]()
    found = measure_latency([model, model], Timing(batches=(3, 1), prompt=8, new=4, repeats=2), told.append)
    said = found.protocol
    assert told == [3, 1]
    assert (said.batches, said.prompt, said.new, said.repeats) == ((3, 1), 8, 4, 2)
    assert (said.dtype, said.device, said.threads) == ("float32", "cpu", torch.get_num_threads())
    assert (said.hardware, said.memory, said.libraries["torch"]) == (cpu_name(), ELSEWHERE, torch.__version__)
    assert [speed.fingerprint for speed in found.models] == [model.fingerprint] * 2
    assert found.models[0].attention == "sdpa"
    times = found.models[1].times[0]
    assert times.batch == 3
    assert len(times.prefill.rounds) == len(times.blocks.rounds) == len(times.decode.rounds) == 2
    assert times.prefill_tokens_per_second == pytest.approx(3 * 8 / times.prefill.median)
    assert times.decode_tokens_per_second == pytest.approx(3 / times.decode.median)
    weights = sum(p.size for p in model.architecture.projections)
    head = model.network.lm_head.weight.numel()
    assert times.blocks.rounds == pytest.approx([1e-9 * 3 * 8 * weights] * 2)
    assert times.prefill.rounds == pytest.approx([1e-9 * 3 * (8 * weights + head)] * 2)
    assert times.decode.rounds == pytest.approx([1e-9 * 3 * (weights + head)] * 2)
    assert Latency.model_validate_json(found.model_dump_json()) == found


def test_every_family_can_be_timed(random_model: Model) -> None:
    random_model.network.config.get_text_config().max_position_embeddings = 64
    times = measure_latency([random_model], QUICK).models[0].times[0]
    assert min(times.prefill.median, times.blocks.median, times.decode.median) > 0
    assert times.cache_bytes > 0


def test_more_tokens_than_positions_are_refused(save_random: Save) -> None:
    models = [opened(save_random(name, max_position_embeddings=n)) for name, n in (("long", 64), ("short", 16))]
    measure_latency(models, Timing(batches=(1,), prompt=14, new=2, repeats=1))
    with pytest.raises(SecateurError, match=r"short has 16 positions, too few for a prompt of 14 and 3 new tokens"):
        measure_latency(models, Timing(batches=(1,), prompt=14, new=3, repeats=1))


def test_different_precisions_are_refused(save_random: Save) -> None:
    folder = save_random("model")
    with pytest.raises(SecateurError, match=r"float32 on cpu, .* bfloat16 on cpu: times of the two do not compare"):
        measure_latency([opened(folder), opened(folder, dtype="bfloat16")], QUICK)


@pytest.mark.parametrize("wrong", [{"batches": (0,)}, {"batches": ()}, {"prompt": 0}, {"new": 0}, {"repeats": 0}])
def test_a_plan_that_measures_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Timing(**wrong)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_memory_is_of_one_model_and_seconds_are_of_the_device(save_random: Save) -> None:
    small, large = (save_random(f"{n}", num_hidden_layers=1, hidden_size=n, intermediate_size=2 * n) for n in (64, 512))
    models = [opened(folder, device="cuda", dtype="float32") for folder in (small, large)]
    found = measure_latency(models, QUICK)
    for speed in found.models:
        assert speed.times[0].peak_bytes > speed.weight_bytes + speed.times[0].cache_bytes
    assert found.models[0].times[0].peak_bytes < found.models[1].weight_bytes
    assert found.protocol.hardware == torch.cuda.get_device_name()
    heavy = torch.ones(4096, 4096, device="cuda")
    launched, done = (time_calls([lambda: heavy @ heavy], 5, wait)[0] for wait in (lambda: None, synchroniser("cuda")))
    assert min(launched) < min(done)
