"""Models for the tests of the numeric core: every family tiny and random, and the trained sample."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
import transformers as tf

from tools.model.architecture import describe
from tools.model.checkpoint import Model, open_model
from tools.prune.prepared import Prepared
from tools.prune.way import way_of
from tools.recipe import Recipe
from tools.statistics.layers import LayerStatistics
from tools.text.windows import Windows

SMALL: dict[str, Any] = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LLAMA = SMALL | {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
GEMMA = LLAMA | {"head_dim": 8, "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}
"""One local block and one global one, so that the two are called with masks that differ."""

GEMMA_3 = tf.Gemma3Config(
    text_config=GEMMA,
    vision_config={
        "hidden_size": 64,
        "intermediate_size": 512,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "image_size": 28,
        "patch_size": 14,
    },
    mm_tokens_per_image=1,
    image_token_index=5,
    boi_token_index=6,
    eoi_token_index=7,
)

SPLIT = {"q": (32, 32), "k": (16, 32), "v": (16, 32), "o": (32, 32), "gate": (48, 32), "up": (48, 32), "down": (32, 48)}
SPLIT_NAMES = [f"self_attn.{r}_proj" for r in "qkvo"] + [f"mlp.{r}_proj" for r in ("gate", "up", "down")]
FUSED = {"qkv": (96, 32), "o": (32, 32), "fc1": (48, 32), "fc2": (32, 48)}


class Looks(NamedTuple):
    """What there is to know about a tiny model of a family."""

    config: Any
    blocks: str
    paths: list[str]
    """Of the projections in a block, in forward order."""
    shapes: dict[str, tuple[int, int]]
    """Role -> (out, in), in the same order."""


FAMILIES: dict[str, Looks] = {
    "llama": Looks(tf.LlamaConfig(**LLAMA), "model.layers", SPLIT_NAMES, SPLIT),
    "mistral": Looks(tf.MistralConfig(**LLAMA), "model.layers", SPLIT_NAMES, SPLIT),
    "qwen2": Looks(tf.Qwen2Config(**LLAMA), "model.layers", SPLIT_NAMES, SPLIT),
    "qwen3": Looks(tf.Qwen3Config(**LLAMA, head_dim=8), "model.layers", SPLIT_NAMES, SPLIT),
    "gemma2": Looks(tf.Gemma2Config(**GEMMA), "model.layers", SPLIT_NAMES, SPLIT),
    "gemma3_text": Looks(tf.Gemma3TextConfig(**GEMMA), "model.layers", SPLIT_NAMES, SPLIT),
    "gemma3": Looks(GEMMA_3, "model.language_model.layers", SPLIT_NAMES, SPLIT),
    "phi3": Looks(
        tf.Phi3Config(**LLAMA),
        "model.layers",
        ["self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"],
        {"qkv": (64, 32), "o": (32, 32), "gate_up": (96, 32), "down": (32, 48)},
    ),
    "opt": Looks(
        tf.OPTConfig(
            **SMALL, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=16
        ),
        "model.decoder.layers",
        ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "fc1", "fc2"],
        dict.fromkeys("qkvo", (32, 32)) | {"fc1": (48, 32), "fc2": (32, 48)},
    ),
    "gpt_neox": Looks(
        tf.GPTNeoXConfig(**SMALL, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4),
        "gpt_neox.layers",
        ["attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"],
        FUSED,
    ),
    "gpt2": Looks(
        tf.GPT2Config(**SMALL, n_embd=32, n_inner=48, n_layer=2, n_head=4, n_positions=64),
        "transformer.h",
        ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"],
        FUSED,
    ),
}


def build_family(family: str) -> Any:
    torch.manual_seed(0)
    return tf.AutoModelForCausalLM.from_config(FAMILIES[family].config).eval()


@pytest.fixture
def build() -> Callable[[str], Any]:
    """A tiny random network of the family of that name."""
    return build_family


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Every family in turn."""
    return str(request.param)


@pytest.fixture
def looks(family: str) -> Looks:
    return FAMILIES[family]


@pytest.fixture
def random_model(family: str) -> Model:
    """A tiny random model of every family in turn, opened, with weights large enough to matter."""
    network = build_family(family)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    network.requires_grad_(False)
    return Model(
        name=family,
        folder=Path("nowhere"),
        network=network,
        tokenizer=None,  # type: ignore[arg-type]  # only text needs it
        architecture=describe(network),
        fingerprint=family,
        dtype="float32",
        device="cpu",
    )


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return open_model("tiny", cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def trained(_trained: Model) -> Model:
    """The sample that really is trained; a copy, to be pruned."""
    opened = copy.copy(_trained)
    opened.network = copy.deepcopy(_trained.network)
    return opened


def random_windows(count: int, length: int, vocabulary: int = 64, seed: int = 0) -> Windows:
    """Windows of random tokens; those of the special tokens (below 8) do not occur."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(8, vocabulary, (count, length), generator=generator)
    return Windows(ids, "random", f"random{count}x{length}#{seed}", "random", tuple(i * length for i in range(count)))


@pytest.fixture
def draw() -> Callable[..., Windows]:
    """`random_windows`."""
    return random_windows


def prepared(model: Model, layers: LayerStatistics, recipe: Recipe) -> Prepared:
    """A recipe made ready by layer statistics that are at hand, without a bench around them."""
    held: Any = SimpleNamespace(model=model, layers=layers, statistics=layers.statistics, dense=layers.dense)
    found: Prepared = way_of(recipe.pattern).prepare(held, recipe)
    return found
