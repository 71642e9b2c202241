"""Positions: what a configuration says is what the network does one token further."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as tf

from tools.io.errors import SecateurError
from tools.io.quiet import quiet
from tools.model.positions import Positions, check_length, positions

LIMIT = 16
SMALL: dict[str, Any] = {"vocab_size": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
BASE = SMALL | {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
LONG = BASE | {"max_position_embeddings": LIMIT}
GPT = SMALL | {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": LIMIT}

TABLES = {
    "gpt2": tf.GPT2Config(**GPT),
    "gptj": tf.GPTJConfig(**GPT, rotary_dim=4),
    "codegen": tf.CodeGenConfig(**GPT | {"n_head": 4}, rotary_dim=4),
    "gpt_neo": tf.GPTNeoConfig(
        **SMALL,
        hidden_size=16,
        num_layers=1,
        num_heads=2,
        attention_types=[[["global"], 1]],
        max_position_embeddings=LIMIT,
    ),
    "opt": tf.OPTConfig(**LONG, ffn_dim=16, word_embed_proj_dim=16),
    "mpt": tf.MptConfig(**SMALL, d_model=16, n_layers=1, n_heads=2, max_seq_len=LIMIT),
}
GO_ON = {
    "llama": tf.LlamaConfig(**LONG),
    "gpt_neox": tf.GPTNeoXConfig(**LONG),
    "gemma3": tf.Gemma3Config(
        text_config=tf.Gemma3TextConfig(**LONG, head_dim=8, num_key_value_heads=2)
    ).get_text_config(),
    "xglm": tf.XGLMConfig(
        **SMALL, d_model=16, ffn_dim=16, num_layers=1, attention_heads=2, max_position_embeddings=LIMIT
    ),
    "falcon": tf.FalconConfig(**LONG),
}
ENDLESS = {
    "bloom": tf.BloomConfig(**SMALL, hidden_size=16, n_layer=1, n_head=2, seq_length=LIMIT),
    "falcon": tf.FalconConfig(**LONG, alibi=True),
    "mamba": tf.MambaConfig(**SMALL, hidden_size=16, num_hidden_layers=1, state_size=4),
}


def reads(config: Any, length: int) -> bool:
    """Whether a network of this configuration takes so many tokens."""
    with quiet():
        network = tf.AutoModelForCausalLM.from_config(config).eval()
    try:
        with torch.inference_mode():
            network(torch.arange(length)[None] % 30 + 2, use_cache=False)
    except (IndexError, RuntimeError):
        return False
    return True


@pytest.mark.parametrize("config", TABLES.values(), ids=TABLES)
def test_a_table_ends_where_the_network_does(config: Any) -> None:
    assert positions(config) == Positions(LIMIT, ends=True)
    assert (reads(config, LIMIT), reads(config, LIMIT + 1)) == (True, False)
    assert check_length("m", config, LIMIT) == ()
    with pytest.raises(SecateurError, match="m has 16 positions, too few for windows of 17 tokens; give shorter ones"):
        check_length("m", config, LIMIT + 1)


@pytest.mark.parametrize("config", GO_ON.values(), ids=GO_ON)
def test_what_goes_on_is_told(config: Any) -> None:
    assert positions(config) == Positions(LIMIT, ends=False)
    assert reads(config, LIMIT + 1)
    assert check_length("m", config, LIMIT) == ()
    assert check_length("m", config, LIMIT + 1) == ("longer than the 16 positions that the model was made for",)


@pytest.mark.parametrize("config", ENDLESS.values(), ids=ENDLESS)
def test_distances_have_no_end(config: Any) -> None:
    assert positions(config) is None
    assert reads(config, 3 * LIMIT)
    assert check_length("m", config, 10**6) == ()


@pytest.mark.parametrize(
    ("scaling", "count"),
    [
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}, 64),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4}, 16),
        ({"rope_type": "dynamic", "factor": 2.0}, 32),
        ({"rope_type": "linear", "factor": 4.0}, 16),
        (
            {
                "rope_type": "llama3",
                "factor": 4.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 4,
            },
            16,
        ),
    ],
    ids=lambda value: value["rope_type"] if isinstance(value, dict) else "",
)
def test_scaled_positions_are_counted_once(scaling: dict[str, Any], count: int) -> None:
    config = tf.LlamaConfig(**LONG, rope_parameters={"rope_theta": 10000.0, **scaling})
    assert positions(config) == Positions(count, ends=False)


def test_the_text_part_of_a_multimodal_model_is_asked() -> None:
    assert positions(tf.Gemma3Config(text_config=tf.Gemma3TextConfig(**LONG))) == Positions(LIMIT, ends=False)
