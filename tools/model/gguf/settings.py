"""The configuration that a GGUF asks for, and the account of it: what a file says and nobody reads is refused.

transformers makes a configuration of a few keys, drops the others and drops tensors that no parameter wants, without
a word. So its configuration is completed here, and afterwards every key of the architecture has to be what the
configuration computes with, and every tensor has to have gone into the network.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tools.io.errors import SecateurError
from tools.model.gguf.rotary import FACTORS

SHAPES = {
    "block_count",
    "context_length",
    "embedding_length",
    "expert_feed_forward_length",
    "expert_shared_feed_forward_length",
    "feed_forward_length",
    "shortconv.l_cache",
    "ssm.conv_kernel",
    "ssm.group_count",
    "ssm.inner_size",
    "ssm.state_size",
    "ssm.time_step_rank",
    "vocab_size",
}
"""Keys that say nothing which the shapes of the weights do not say."""

OFF: dict[str, tuple[Any, ...]] = {
    "attention.causal": (True,),
    "attention.clamp_kqv": (0,),
    "attention.max_alibi_bias": (0,),
    "attention.scale": (0,),
    "attention.sliding_window": (0,),
    "attn_logit_softcapping": (0,),
    "embedding_scale": (0, 1),
    "expert_count": (0,),
    "expert_group_count": (0, 1),
    "expert_group_used_count": (0, 1),
    "expert_gating_func": (0,),
    "expert_shared_count": (0,),
    "expert_used_count": (0,),
    "expert_weights_scale": (0, 1),
    "final_logit_softcapping": (0,),
    "logit_scale": (0, 1),
    "nextn_predict_layers": (0,),
    "pooling_type": (0,),
    "residual_scale": (0, 1),
    "router_logit_softcapping": (0,),
    "ssm.dt_b_c_rms": (False,),
    "swin_norm": (False,),
}
"""Keys -> values with which they change nothing, whatever the network is."""


def _field(*fields: str) -> Callable[[Any], Any]:
    """The first of these fields that a configuration has."""
    return lambda config: next((getattr(config, name) for name in fields if hasattr(config, name)), None)


def _head(config: Any) -> Any:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _key_heads(config: Any) -> Any:
    if getattr(config, "multi_query", False) and not getattr(config, "new_decoder_architecture", False):
        return 1  # Falcon
    return _field("num_key_value_heads", "num_kv_heads", "num_attention_heads")(config)


def _scale(config: Any) -> Any:
    return (getattr(config, "query_pre_attn_scalar", None) or _head(config)) ** -0.5


def _pattern(config: Any) -> Any:
    """Which blocks look at a window only, as llama.cpp says it: one truth value a block."""
    return [kind == "sliding_attention" for kind in getattr(config, "layer_types", None) or []]


COMPUTED: dict[str, Callable[[Any], Any]] = {
    "attention.head_count": _field("num_attention_heads"),
    "attention.head_count_kv": _key_heads,
    "attention.key_length": _head,
    "attention.layer_norm_epsilon": _field("layer_norm_epsilon", "layer_norm_eps", "norm_epsilon", "norm_eps"),
    "attention.layer_norm_rms_epsilon": _field("rms_norm_eps", "norm_eps", "layer_norm_epsilon"),
    "attention.scale": _scale,
    "attention.sliding_window": _field("sliding_window"),
    "attention.sliding_window_pattern": _pattern,
    "attention.value_length": _head,
    "attn_logit_softcapping": _field("attn_logit_softcapping"),
    "expert_count": _field("num_experts", "num_local_experts"),
    "expert_gating_func": lambda config: {"softmax": 1, "sigmoid": 2}.get(getattr(config, "scoring_func", "softmax")),
    "expert_used_count": _field("num_experts_per_tok"),
    "expert_weights_norm": _field("norm_topk_prob"),
    "final_logit_softcapping": _field("final_logit_softcapping"),
    "full_attention_interval": _field("full_attention_interval"),
    "use_parallel_residual": _field("use_parallel_residual"),
}
"""Keys -> what the configuration computes with in their place."""


def configuration(
    given: Mapping[str, Any], said: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]], rope: dict[str, Any]
) -> Any:
    """transformers' configuration of a GGUF, completed.

    Args:
        given: as transformers makes it.
        said: the keys of the file's architecture, without its name. tensors: name -> shape.
        rope: its rotary embedding as `rope_parameters`.
    """
    from transformers import CONFIG_MAPPING

    # A Llama of the name "mistral" would become a Mistral, whose default is a window of 4096 tokens.
    model_type = "llama" if given["model_type"] == "mistral" else given["model_type"]
    kind = CONFIG_MAPPING[model_type]
    usual = kind()
    wanted = {key: value for key, value in given.items() if key not in ("model_type", "_model_name_or_path")}
    wanted.pop("rope_theta", None)
    heads, hidden = said.get("attention.head_count"), said.get("embedding_length")
    size = said.get("attention.key_length")
    if size is None and isinstance(heads, int) and heads and hidden:
        size = hidden // heads
    more = {
        "vocab_size": tensors["token_embd.weight"][0] if "token_embd.weight" in tensors else None,
        "head_dim": size,
        "num_key_value_heads": said.get("attention.head_count_kv", heads),
        "n_positions": said.get("context_length"),
        "n_inner": said.get("feed_forward_length"),
        "moe_intermediate_size": said.get("expert_feed_forward_length"),
        "shared_expert_intermediate_size": said.get("expert_shared_feed_forward_length"),
        "norm_topk_prob": said.get("expert_weights_norm"),
        "use_parallel_residual": said.get("use_parallel_residual"),
        "attn_logit_softcapping": said.get("attn_logit_softcapping"),
        "final_logit_softcapping": said.get("final_logit_softcapping"),
        "sliding_window": said.get("attention.sliding_window"),
        "attention_bias": _any(tensors, r"blk\.\d+\.attn_(q|k|v|output)\.bias"),
        "mlp_bias": _any(tensors, r"blk\.\d+\.ffn_(gate|up|down)\.bias"),
    }
    wanted |= {
        key: value for key, value in more.items() if value is not None and hasattr(usual, key) and _own(given, key)
    }
    if model_type in ("gemma2", "gemma3_text"):
        wanted |= _gemma(model_type, said, size, wanted["num_hidden_layers"])
    if model_type == "gemma3_text":
        local = {"rope_type": "default", "rope_theta": float(said.get("rope.freq_base_swa", 10_000.0))}
        wanted["rope_parameters"] = {"full_attention": rope, "sliding_attention": local}
    elif hasattr(usual, "rope_parameters") and "rope_parameters" not in given:
        turned = said.get("rope.dimension_count")
        part = {"partial_rotary_factor": turned / size} if turned and size and turned != size else {}
        wanted["rope_parameters"] = rope | part
    return kind(**wanted)


def _own(given: Mapping[str, Any], key: str) -> bool:
    """Whether a field is ours to set: transformers' readers know more of architectures whose blocks differ."""
    return not (key == "num_key_value_heads" and given.get("model_type") == "lfm2")


def _gemma(model_type: str, said: Mapping[str, Any], size: int | None, blocks: int) -> dict[str, Any]:
    """What llama.cpp computes Gemma with and no key says: src/models/gemma2-iswa.cpp and gemma3.cpp."""
    largest = {"gemma2": 46, "gemma3_text": 62}[model_type]  # 27B scales by hidden_size / heads
    found: dict[str, Any] = {
        "query_pre_attn_scalar": (
            said["embedding_length"] // said["attention.head_count"] if blocks == largest else size or 256
        )
    }
    pattern = said.get("attention.sliding_window_pattern", {"gemma2": 2, "gemma3_text": 6}[model_type])
    if isinstance(pattern, int):
        pattern = [(block + 1) % pattern != 0 for block in range(blocks)]
    found["layer_types"] = ["sliding_attention" if local else "full_attention" for local in pattern]
    return found


def _any(names: Iterable[str], pattern: str) -> bool | None:
    return True if any(re.fullmatch(pattern, name) for name in names) else None


def may_be_zero(parameter: str, config: Any) -> bool:
    """Whether a parameter without a value is a bias that llama.cpp leaves out: it knows biases one by one, a Llama of
    transformers all of its attention's, or of its MLP's, or none."""
    switch = "attention_bias" if ".self_attn." in parameter else "mlp_bias"
    return config.model_type == "llama" and parameter.endswith("_proj.bias") and bool(getattr(config, switch))


def check_keys(said: Mapping[str, Any], config: Any) -> None:
    """Compare what a file says with what the configuration computes.

    Args:
        said: the keys of the file's architecture, without its name; `rotary` checks those of the rotary embedding.

    Raises:
        SecateurError: a key says something that the network does not do, or is not known here.
    """
    for key, value in said.items():
        if key in SHAPES or key.startswith("rope.") or value in OFF.get(key, ()):
            continue
        if key in COMPUTED:
            computed = COMPUTED[key](config)
            if not _same(key, value, computed):
                raise SecateurError(f"{key} is {value}, transformers computes with {computed}")
        elif not isinstance(value, str) or key.startswith("attention."):  # no text changes what is computed
            raise SecateurError(f"{key} is {value}, which is not read here")


def _same(key: str, value: Any, computed: Any) -> bool:
    if key == "attention.sliding_window_pattern" and isinstance(value, int) and isinstance(computed, list):
        return computed == [(block + 1) % value != 0 for block in range(len(computed))]
    if isinstance(value, list) and not isinstance(computed, list):  # a number a block; 0 where it has no attention
        return all(one in (0, computed) for one in value)
    if isinstance(value, float) and isinstance(computed, int | float):
        return math.isclose(value, computed, rel_tol=1e-5)
    return bool(value == computed)


def unread(names: Iterable[str], network: Any, architecture: str) -> list[str]:
    """Tensors of a file that transformers puts nowhere.

    Args:
        names: of all tensors. network: what they were loaded into. architecture: as the file calls it.
    """
    from transformers import modeling_gguf_pytorch_utils as legacy

    processor = legacy.TENSOR_PROCESSORS.get(architecture, legacy.TensorProcessor)(config=network.config.to_dict())
    try:
        places = legacy.get_gguf_hf_weights_map(network, processor)
    except NotImplementedError:  # of an architecture that is loaded another way, which reports what it does not use
        return []
    # The parameters of stacked experts are no modules, so their places have no ending.
    return [name for name in names if name != FACTORS and not {name, name.removesuffix(".weight")} & places.keys()]
