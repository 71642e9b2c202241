"""What can fall alone: heads that share, numbers that a configuration refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers as tf

from tests.tools.conftest import LLAMA
from tools.io.errors import SecateurError
from tools.model.architecture import describe
from tools.model.checkpoint import Model
from tools.prune.structures.anatomy import layers_of


def test_heads_fall_with_the_key_value_head_they_share(random_model: Model) -> None:
    layers = layers_of(random_model)
    attention = layers[0]
    if attention.units == 1:  # the family's configuration has no size of a head
        assert random_model.name in ("opt", "gpt_neox", "gpt2")
        return
    assert (attention.units, attention.queries, attention.head) == (2, 2, 8)
    second = torch.tensor([1])
    assert attention.channels(second).tolist() == list(range(16, 32))
    for p in random_model.architecture.of_block(0):
        if p.role == "qkv":
            assert attention.rows(p, second).tolist() == [*range(16, 32), *range(40, 48), *range(56, 64)]
        elif p.role in ("k", "v"):
            assert attention.rows(p, second).tolist() == list(range(8, 16))


def test_a_number_of_heads_that_the_configuration_refuses_is_never_chosen() -> None:
    config = tf.LlamaConfig(**(LLAMA | {"num_attention_heads": 4, "num_key_value_heads": 4}))
    network = tf.AutoModelForCausalLM.from_config(config).eval()
    model = Model("llama", Path("nowhere"), network, None, describe(network), "llama", "float32", "cpu")  # type: ignore[arg-type]  # no text
    assert layers_of(model)[0].statable == (1, 2, 4), "32 is no multiple of 3"


def test_an_unknown_family_is_left_alone() -> None:
    config = tf.MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, state_size=8)
    network = tf.AutoModelForCausalLM.from_config(config).eval()
    model = Model("mamba", Path("nowhere"), network, None, describe(network), "mamba", "float32", "cpu")  # type: ignore[arg-type]  # no text
    with pytest.raises(SecateurError, match="is not a family whose heads and neurons are known"):
        layers_of(model)
