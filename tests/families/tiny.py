"""Tiny configurations of all families: the default configuration with every size made small, and what needs care.

Sizes are known by the names of fields, wherever they stand, in nested configurations as well. Lists with an entry per
block are made anew, so that every kind of block that the default has is among the few that are left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools.prune.structures.learnt.depth import DEPTHS

BLOCKS, HIDDEN, HEADS, GROUPS, HEAD, NEURONS, EXPERTS, CHOSEN = 4, 32, 4, 2, 8, 48, 6, 2
VOCABULARY, POSITIONS = 512, 128
LARGEST = 8_000_000
"""Weights above which a model is not tiny: a size was overlooked."""

Settings = dict[str, Any]

TYPES = ("layer_types", "mlp_layer_types", "layers_block_type", "indexer_types", "attn_layers", "block_types")
"""Lists that say of what kind every block is."""

SIZES: Mapping[str, int] = {
    **dict.fromkeys((*DEPTHS, "num_layers_per_stack"), BLOCKS),
    **dict.fromkeys(("encoder_layers", "num_encoder_layers", "depth"), 1),
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "embedding_dim", "emb_dim", "embedding_size"), HIDDEN),
    **dict.fromkeys(("input_embedding_size", "output_embedding_size", "word_embed_proj_dim", "lru_width"), HIDDEN),
    **dict.fromkeys(("attention_hidden_size", "backbone_hidden_size", "pronunciation_embed_dim"), HIDDEN),
    **dict.fromkeys(("hidden_size_global", "adapter_in_dim", "adapter_out_dim", "adapter_input_size"), HIDDEN),
    **dict.fromkeys(("shape_embed_dim", "classifier_proj_size", "out_hidden_size", "projection_dim"), HIDDEN),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads"), HEADS),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads", "swa_num_attention_heads"), HEADS),
    **dict.fromkeys(("num_encoder_attention_heads", "num_decoder_attention_heads", "num_query_groups"), HEADS),
    **dict.fromkeys(("num_key_value_heads", "swa_num_key_value_heads", "num_kv_heads"), GROUPS),
    **dict.fromkeys(("linear_num_key_heads", "index_n_heads", "linear_num_heads"), 2),
    "linear_num_value_heads": 4,
    **dict.fromkeys(("head_dim", "kv_channels", "attention_head_size", "swa_head_dim", "global_head_dim"), HEAD),
    **dict.fromkeys(("d_head", "dim_head", "v_head_dim", "qk_nope_head_dim", "qk_rope_head_dim", "rotary_dim"), HEAD),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "linear_head_dim", "swa_v_head_dim"), HEAD),
    **dict.fromkeys(("qk_head_dim", "index_head_dim", "attention_head_dim"), 2 * HEAD),
    **dict.fromkeys(("intermediate_size", "decoder_ffn_dim", "encoder_ffn_dim", "ffn_dim", "n_inner", "dff"), NEURONS),
    **dict.fromkeys(("ffn_hidden_size", "feed_forward_size", "d_inner", "dim_ff", "intermediate_size_mlp"), NEURONS),
    **dict.fromkeys(("dense_intermediate_size", "shared_intermediate_size"), NEURONS),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "expert_ffn_hidden_size"), 24),
    **dict.fromkeys(("shared_experts_intermediate_size", "moe_shared_expert_intermediate_size"), 24),
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"), EXPERTS),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "top_k_experts"), CHOSEN),
    **dict.fromkeys(("n_group", "topk_group", "num_expert_group"), 1),
    **dict.fromkeys(("first_k_dense_replace", "num_dense_layers", "moe_num_shared_experts", "n_shared_experts"), 1),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "o_lora_rank", "laurel_rank", "hc_lowrank", "adapter_rank"), 16),
    **dict.fromkeys(("loop_gate_rank", "gated_norm_rank", "d_rel", "router_hidden_size", "prompt_mid_dim"), 16),
    **dict.fromkeys(("mamba_d_state", "state_size", "ssm_state_size"), HEAD),
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads", "mamba_d_head", "mamba_head_dim", "mamba_headdim"), 8),
    **dict.fromkeys(("mamba_n_groups", "mamba_ngroups", "n_groups"), 2),
    **dict.fromkeys(("time_step_rank", "mamba_dt_rank"), 4),
    "mamba_d_ssm": 2 * HIDDEN,
    **dict.fromkeys(("chunk_size", "mamba_chunk_size", "block_size", "index_block_size"), 16),
    **dict.fromkeys(("sliding_window", "sliding_window_size", "window_size", "attention_window_size"), 16),
    **dict.fromkeys(("attention_chunk_size", "local_attention", "index_topk", "swa_window_size"), 16),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "context_length"), POSITIONS),
    **dict.fromkeys(("max_target_positions", "max_source_positions", "model_max_length", "rel_extent"), POSITIONS),
    "original_max_position_embeddings": POSITIONS,
    "hidden_size_per_layer_input": 16,
    "ffn_round_up_to_multiple_of": 16,
    "ngram_vocab_size_base": 100,
    "ple_embed_dim": 32,
    "num_centroids": 16,
    "zero_expert_num": 2,
    "num_nextn_predict_layers": 0,
    "block_multiple_of": 8,
    "downsample_hidden_size": 8,
}

STATED = ("head_dim", "n_routed_experts", "num_experts_per_tok", "n_shared_experts", "n_group", "topk_group")
"""Sizes that are given also where the default is none, without which there would be no model."""

MLA: Settings = {"num_key_value_heads": HEADS}
"""Latent attention: every head has keys and values of its own."""

ROPE: Settings = {"rope_type": "default", "rope_theta": 10000.0}
INDEXER: Settings = {"indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 16}
INDEXER |= {"indexer_budget": 16, "indexer_compress_ratio": 4}
SECTIONS: Settings = {"text_config": {"rope_parameters": ROPE | {"mrope_section": [1, 1, 2]}}}
"""Positions of text, height and width share half a head."""
DOTS_3: Settings = MLA | {"head_dim": 2 * HEAD, "swa_num_attention_heads": HEADS, "swa_num_key_value_heads": HEADS}
DOTS_3 |= {"swa_q_lora_rank": 16, "swa_kv_lora_rank": 16, "swa_head_dim": 2 * HEAD, "swa_v_head_dim": HEAD}
DOTS_3 |= {"swa_qk_nope_head_dim": HEAD, "swa_qk_rope_head_dim": HEAD}
GEMMA_4: Settings = {"global_head_dim": 2 * HEAD}

ZAMBA: Settings = {"attention_hidden_size": 2 * HIDDEN, "attention_head_dim": 2 * HEAD, "num_hidden_layers": 6}
ZAMBA |= {"layers_block_type": ["linear_attention", "hybrid"] * 3}

CARE: Mapping[str, Settings] = {
    "cohere_compass_text": {"rope_parameters": {"full_attention": ROPE, "sliding_attention": ROPE}},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "qwen4_exp_text": INDEXER,
    "qwen4_exp": {"text_config": INDEXER},
    "dbrx": {"attn_config": {"rope_theta": 10000.0, "kv_n_heads": GROUPS, "clip_qkv": 8.0}},
    **dict.fromkeys(("gemma4_text", "gemma4_unified_text"), GEMMA_4),
    **{name: {"text_config": GEMMA_4} for name in ("gemma4", "gemma4_unified")},
    **dict.fromkeys(("axk1", "axk2", "bailing_hybrid", "deepseek_v2", "deepseek_v3", "deepseek_v32"), MLA),
    **dict.fromkeys(("glm4_moe_lite", "glm_moe_dsa", "youtu", "minicpm3", "sarvam_mla"), MLA),
    **dict.fromkeys(("longcat_flash", "kimi_linear", "hy_v4"), MLA),
    "dots3_note_text": DOTS_3,
    "dots3_note": {"text_config": DOTS_3},
    **{name: {"decoder": {"num_codebooks": 1}} for name in ("musicgen", "musicgen_melody")},
    "mamba2": {"num_heads": 8},
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen2_5_omni_thinker", "glm_ocr", "glm4v", "glm46v"), SECTIONS),
    "mllama": {"text_config": {"cross_attention_layers": [1, 3]}},
    "nemotron": {"num_key_value_heads": GROUPS},
    "zaya": {"num_experts_per_tok": 1},
    "reformer": {"axial_pos_shape": (8, 16), "axial_pos_embds_dim": (8, 24)},
    **dict.fromkeys(("zamba", "zamba2"), ZAMBA),
    "nemotron_h": {"layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"] * 2},
    "xmod": {"default_language": "en_XX"},
    "gemma3n_text": {"num_kv_shared_layers": 2, "layer_types": ["sliding_attention", "full_attention"] * 2}
    | {"intermediate_size": [NEURONS] * BLOCKS},
}
"""What the general rules make no model of: changes by `model_type`."""


def tiny_config(model_type: str) -> Any:
    """The family's configuration with small sizes."""
    from transformers import CONFIG_MAPPING

    kind = CONFIG_MAPPING[model_type]
    care = CARE.get(model_type, {})
    return kind(**_small(kind(**care.get("default", {})), care))


def _small(default: Any, care: Mapping[str, Any]) -> Settings:
    """The fields of a configuration that are sizes, made small; `care` speaks of nested ones by their names."""
    held = vars(default)
    depth = next((held[name] for name in DEPTHS if isinstance(held.get(name), int)), 0)
    found: Settings = {}
    for name, value in held.items():
        if hasattr(value, "to_dict"):
            inner = care.get(name, {})
            found[name] = type(value)(**_small(value, inner))
        elif name in SIZES and (name in STATED if value is None else type(value) is int):
            found[name] = SIZES[name]
        elif ("vocab_size" in name or name.endswith("vocab")) and isinstance(value, int):
            found[name] = VOCABULARY
        elif name.endswith(("_token_id", "_token_index", "token_ids")):
            found |= _token(name, value)
        elif name in TYPES and isinstance(value, list | tuple) and value:
            found[name] = _few(list(value))
        elif isinstance(value, list) and depth and len(value) == depth and not name.startswith("_"):
            found[name] = _few(value)
    if found.get("num_experts") is not None or "is_decoder" in held:
        found |= {"is_decoder": True} if "is_decoder" in held and not held.get("is_encoder_decoder") else {}
    return found | {name: value for name, value in care.items() if not hasattr(held.get(name), "to_dict")}


def _few(values: list[Any]) -> list[Any]:
    """BLOCKS entries, in which all the kinds take turns, the most frequent ones last where there is no room."""
    kinds = list(dict.fromkeys(str(value) for value in values))
    first = [next(value for value in values if str(value) == kind) for kind in kinds]
    return [first[i % len(first)] for i in range(max(BLOCKS, len(first)))][: max(BLOCKS, len(first))]


TOKENS: Mapping[str, int] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def _token(name: str, value: Any) -> Settings:
    """An id inside the vocabulary, another for every meaning."""
    if isinstance(value, int) and value >= 0:
        return {name: TOKENS.get(name, 3 + sum(map(ord, name)) % 5)}
    return {name: [2]} if isinstance(value, list) else {}


def made(config: Any, **given: Any) -> Any:
    """The causal language model of a configuration; of one that its class takes a part of, that part's (MusicGen)."""
    from transformers import AutoModelForCausalLM

    kind = AutoModelForCausalLM._model_mapping[type(config)]
    if not hasattr(config, "text_config"):
        part = next((part for part in vars(config).values() if type(part) is kind.config_class), None)
        if part is not None:
            return kind._from_config(part, **given)
    return AutoModelForCausalLM.from_config(config, **given)


def build(model_type: str) -> Any:
    """A random network whose weights are large enough to matter."""
    import torch

    with torch.device("meta"):
        size = sum(p.numel() for p in made(tiny_config(model_type)).parameters())
    if size > LARGEST:
        raise ValueError(f"{size:,} weights are not tiny")
    torch.manual_seed(0)
    network = made(tiny_config(model_type), dtype=torch.float32).eval()
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1 and "conv" not in name:
            torch.nn.init.normal_(parameter, std=0.15)
        elif "norm" in name.lower():  # as of a trained model: an untrained norm after a norm changes nothing
            parameter.data += 0.3 * torch.rand_like(parameter)
        elif not parameter.isfinite().all() or parameter.abs().max() > 1e4:
            torch.nn.init.ones_(parameter)
    return network.requires_grad_(False)
