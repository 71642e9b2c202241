"""Blocks run one at a time, of families that call them otherwise from window to window, are those of a whole pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import MethodType
from typing import Any

import pytest
import torch
import transformers as tf

from tests.tools.conftest import LLAMA, SMALL, random_windows
from tests.tools.prune.test_weights import plain_sequence, prune, wanda_half, zeros
from tools.io.errors import SecateurError
from tools.model.architecture import describe
from tools.model.blocks import CHECK_TOKENS, check_blocks, output_of, passes
from tools.model.checkpoint import Model
from tools.recipe import Recipe
from tools.statistics.collect import collect

GEMMA_3N = tf.Gemma3nTextConfig(
    **LLAMA | {"num_hidden_layers": 4},
    head_dim=8,
    num_kv_shared_layers=2,
    vocab_size_per_layer_input=64,
    hidden_size_per_layer_input=8,
    laurel_rank=4,
    sliding_window=4,
    layer_types=["sliding_attention", "full_attention"] * 2,
    activation_sparsity_pattern=[0.0] * 4,
)
"""The blocks get inputs of their own for every token, and the last two the keys and values of earlier ones."""
CONFIGS: dict[str, Any] = {
    "gemma3n": GEMMA_3N,
    "bloom": tf.BloomConfig(**SMALL, hidden_size=32, n_layer=3, n_head=4),  # biases of ALiBi, one for each sequence
    "deepseek_v3": tf.DeepseekV3Config(
        **LLAMA | {"num_key_value_heads": 4},
        q_lora_rank=8, kv_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=8,
        n_routed_experts=8, num_experts_per_tok=2, n_group=2, topk_group=1, first_k_dense_replace=1,
        moe_intermediate_size=24,
    ),
    "lfm2": tf.Lfm2Config(**LLAMA | {"num_hidden_layers": 3}, layer_types=["conv", "full_attention", "conv"]),
    "openai-gpt": tf.OpenAIGPTConfig(**SMALL, n_embd=32, n_layer=2, n_head=4, n_positions=64),  # blocks return lists
    # Before its last blocks, which share keys and values, it drops the tokens whose logits nobody wants.
    "gemma4": tf.Gemma4TextConfig(
        **LLAMA | {"num_hidden_layers": 4}, head_dim=8, global_head_dim=8, num_kv_shared_layers=2,
        vocab_size_per_layer_input=64, hidden_size_per_layer_input=8, sliding_window=4,
        layer_types=["sliding_attention", "full_attention"] * 2,
    ),
    "rwkv": tf.RwkvConfig(**SMALL, hidden_size=32, num_hidden_layers=2, attention_hidden_size=32),
}  # fmt: skip
WINDOWS = random_windows(5, 16)


def odd_model(name: str, config: Any) -> Model:
    torch.manual_seed(0)
    network = tf.AutoModelForCausalLM.from_config(config).eval()
    for path, parameter in network.named_parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
        if "correct_output_scale" in path:
            parameter.data.fill_(1)
    network.requires_grad_(False)
    return Model(name, Path("nowhere"), network, None, describe(network), name, "float32", "cpu")  # type: ignore[arg-type]


@pytest.fixture(params=CONFIGS)
def odd(request: pytest.FixtureRequest) -> Model:
    return odd_model(request.param, CONFIGS[request.param])


def hooked(model: Model, ids: torch.Tensor) -> list[torch.Tensor]:
    """The output of every block in one whole pass."""
    found: list[torch.Tensor] = []
    blocks = model.network.get_submodule(model.architecture.blocks)
    handles = [b.register_forward_hook(lambda m, a, result: found.append(output_of(result).clone())) for b in blocks]
    with torch.no_grad():
        model.network(ids, use_cache=False)
    for handle in handles:
        handle.remove()
    return found


def test_every_block_puts_out_what_it_does_in_a_whole_pass(odd: Model) -> None:
    batches = list(WINDOWS.ids.split(2))  # the last one is smaller
    whole = [hooked(odd, ids) for ids in batches]
    check_blocks(odd, WINDOWS.ids)
    with torch.inference_mode(), passes(odd, batches) as held:
        for block in range(odd.architecture.n_blocks):
            assert held.block == block
            for place in range(len(batches)):
                held.run(place)  # once more than it has to be
                torch.testing.assert_close(held.run(place), whole[place][block])
            held.go_on()


def test_masks_are_those_of_a_plain_loop_over_whole_passes(odd: Model) -> None:
    start = {name: p.clone() for name, p in odd.network.state_dict().items()}
    prune(odd, Recipe(sparsity=0.5, metric="W * X"), WINDOWS, "propagated")
    found = zeros(odd)
    odd.network.load_state_dict(start)
    plain_sequence(odd, WINDOWS, wanda_half)
    slices = {p.name for p in odd.architecture.projections if p.part is not None}
    for name, plain in zeros(odd).items():
        assert name in slices or torch.equal(found[name], plain), name


def test_statistics_are_those_of_every_token(odd: Model) -> None:
    seen: dict[str, torch.Tensor] = {}

    def add(name: str) -> Callable[..., None]:
        def hook(module: Any, args: Any) -> None:
            seen[name] = seen.get(name, 0) + args[0].double().reshape(-1, args[0].shape[-1]).square().sum(0)

        return hook

    linear = [p.name for p in odd.architecture.projections if p.part is None]
    modules = {name: odd.network.get_submodule(name) for name in linear}
    handles = [module.register_forward_pre_hook(add(name)) for name, module in modules.items()]
    for ids in WINDOWS.ids:
        odd.network(ids[None], use_cache=False)
    for handle in handles:
        handle.remove()
    collected = collect(odd, WINDOWS).inputs
    for name in linear:
        found = collected[name]
        torch.testing.assert_close(found.scaler.double(), seen[name] / len(WINDOWS.ids), rtol=1e-4, atol=1e-6)


def test_regional_gradients_are_those_of_whole_passes() -> None:
    model = odd_model("gemma3n", GEMMA_3N)
    found = collect(model, WINDOWS, needs=frozenset({"regional"})).regional
    name = "model.layers.3.mlp.up_proj"  # of a block whose keys and values are another's
    leaf = model.network.get_submodule(name).weight.requires_grad_(True)
    total = torch.zeros_like(leaf)
    block = model.network.get_submodule("model.layers.3")
    said: list[torch.Tensor] = []
    block.register_forward_hook(lambda module, args, result: said.append(output_of(result)))
    for ids in WINDOWS.ids:
        model.network(ids[None], use_cache=False)
        total += torch.autograd.grad(said.pop().norm(), leaf)[0].square()
    torch.testing.assert_close(found[name], (total / len(WINDOWS.ids)).sqrt(), rtol=1e-4, atol=1e-6)


def test_passes_leave_no_trace_also_when_the_body_fails() -> None:
    model = odd_model("bloom", CONFIGS["bloom"])
    blocks = list(model.network.get_submodule(model.architecture.blocks))
    before = hooked(model, WINDOWS.ids[:2])

    def fails(module: Any, args: Any) -> None:
        raise ZeroDivisionError

    def to_the_end() -> None:
        with passes(model, [WINDOWS.ids[:2]]) as held:
            held.go_on()
            held.go_on()

    handle = blocks[1].mlp.register_forward_pre_hook(fails)
    with pytest.raises(ZeroDivisionError):
        to_the_end()
    handle.remove()
    assert not any("forward" in vars(block) or block._forward_hooks for block in blocks)
    assert all(torch.equal(a, b) for a, b in zip(hooked(model, WINDOWS.ids[:2]), before, strict=True))


def test_two_sets_of_passes_go_at_their_own_pace() -> None:
    model = odd_model("gemma3n", GEMMA_3N)
    whole = hooked(model, WINDOWS.ids)
    with torch.inference_mode(), passes(model, [WINDOWS.ids]) as ahead, passes(model, [WINDOWS.ids]) as behind:
        ahead.go_on()
        ahead.go_on()
        torch.testing.assert_close(ahead.run(0), whole[2])
        torch.testing.assert_close(behind.run(0), whole[0])
        behind.go_on()
        torch.testing.assert_close(behind.hidden[0], whole[0])


def looping(network: Any) -> None:
    layers = network.model.layers
    original = network.model.forward

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        original(*args, **kwargs)
        return original(*args, **kwargs)

    network.model.forward = MethodType(forward, network.model)
    assert len(layers) == 2


def backwards(network: Any) -> None:
    layers = network.model.layers
    network.model.layers = torch.nn.ModuleList([layers[0], layers[1]])
    iterate = type(layers).__getitem__

    class Reversed(torch.nn.ModuleList):
        def __getitem__(self, index: Any) -> Any:
            found = iterate(self, index)
            return list(found)[::-1] if isinstance(index, slice) else found

    network.model.layers = Reversed([layers[0], layers[1]])


def counting(network: Any) -> None:
    """A block that says something else each time it is called."""
    block = network.model.layers[1]
    original, calls = block.forward, []

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(None)
        return original(*args, **kwargs) * (1 + len(calls) % 3)

    block.forward = MethodType(forward, block)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (looping, r"runs block 0 2 times in a forward pass"),
        (backwards, r"ran block 1 where block 0 was expected"),
        (counting, r"alone, block 1 puts out something else than in the whole model"),
    ],
)
def test_networks_that_do_not_go_block_after_block_are_refused_before_anything_is_done(
    build: Callable[[str], Any], change: Callable[[Any], None], says: str
) -> None:
    network = build("llama").requires_grad_(False)
    change(network)
    architecture = describe(network)
    model = Model("llama", Path("nowhere"), network, None, architecture, "llama", "float32", "cpu")  # type: ignore[arg-type]
    before = {name: p.clone() for name, p in network.named_parameters()}
    with pytest.raises(SecateurError, match=says) as caught:
        prune(model, Recipe(sparsity=0.5, metric="W * X"), WINDOWS, "propagated")
    assert "\n" not in str(caught.value)
    assert all(torch.equal(p, before[name]) for name, p in network.named_parameters())


def test_the_check_costs_no_more_than_a_pass_over_two_short_windows(build: Callable[[str], Any]) -> None:
    network = build("llama").requires_grad_(False)
    model = Model("llama", Path("nowhere"), network, None, describe(network), "llama", "float32", "cpu")  # type: ignore[arg-type]
    tokens = []
    network.model.layers[1].mlp.register_forward_hook(lambda m, args, out: tokens.append(args[0].shape[:2].numel()))
    check_blocks(model, random_windows(4, 48).ids)
    assert 0 < sum(tokens) <= CHECK_TOKENS
