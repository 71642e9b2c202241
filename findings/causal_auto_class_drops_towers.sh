#!/usr/bin/env bash
# AutoModelForCausalLM opens a Qwen 3.5 checkpoint without its vision tower, and reports nothing missing or unexpected.
#
# Versions:  transformers 5.24.0, torch 2.13.0 (CPU).
# Guess:     AutoModelForCausalLM opens the class that config.json names in `architectures`, refuses a model that it has
#            no class for, or says which weights of the file it leaves out; saving what was opened gives back the model.
# Behaviour: of three models that also see, one call does three things. Of Qwen 3.5 it opens a smaller class; the loading
#            info is empty, as the class lists the tower among the keys to ignore; what is saved is a text model, and the
#            checkpoint's tower is gone. Of Gemma 3 it opens the whole model. LLaVA it refuses.
# Why it matters: a pruner or quantiser that opens by this class and saves, as most scripts do, delivers another model
#            than it was given, and every check of the loading info passes. (Mllama and Llama 4 lose their towers, too;
#            there the load report lists them.)
# Output:    qwen3_5  Qwen3_5ForConditionalGeneration -> Qwen3_5ForCausalLM, missing 0, unexpected 0,
#                     tensors of the tower: in the checkpoint yes, saved again no, saved as qwen3_5_text
#            gemma3   Gemma3ForConditionalGeneration -> Gemma3ForConditionalGeneration, missing 0, unexpected 0,
#                     tensors of the tower: in the checkpoint yes, saved again yes, saved as gemma3
#            llava    ValueError
#
# Needs a package index and nothing else. Exits with 1 if the behaviour has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "transformers==5.24.0" "torch==2.13.0"
cd "$work"
HF_HUB_OFFLINE=1 "$work/venv/bin/python" - <<'PYTHON'
import json
import logging
from pathlib import Path

import torch
import transformers as tf
from safetensors import safe_open

logging.disable(logging.WARNING)
TEXT = dict(
    vocab_size=256, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
    num_key_value_heads=2, head_dim=8, max_position_embeddings=128,
)
LINEAR = dict(linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=8)
VISION = dict(hidden_size=32, intermediate_size=48, image_size=28, patch_size=14)
CONFIGS = {
    "qwen3_5": tf.Qwen3_5Config(
        text_config=TEXT | LINEAR,
        vision_config=dict(
            depth=1, hidden_size=32, intermediate_size=48, num_heads=4, patch_size=14, out_hidden_size=32,
            num_position_embeddings=16,
        ),
    ),
    "gemma3": tf.Gemma3Config(
        text_config=TEXT, vision_config=VISION | dict(num_hidden_layers=1, num_attention_heads=4), mm_tokens_per_image=4
    ),
    "llava": tf.LlavaConfig(
        text_config=tf.LlamaConfig(**TEXT),
        vision_config=tf.CLIPVisionConfig(**VISION, num_hidden_layers=1, num_attention_heads=4),
    ),
}


def tower(folder):
    names = []
    for file in Path(folder).glob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            names += opened.keys()
    return "yes" if any("visual" in name or "vision" in name for name in names) else "no"


def row(kind):
    torch.manual_seed(0)
    network = tf.AutoModelForMultimodalLM.from_config(CONFIGS[kind])
    network.save_pretrained(kind)
    try:
        found, info = tf.AutoModelForCausalLM.from_pretrained(kind, output_loading_info=True)
    except ValueError:
        return ("ValueError",)
    found.save_pretrained(f"{kind}-again")
    saved = json.loads(Path(f"{kind}-again/config.json").read_text())["model_type"]
    counts = len(info["missing_keys"]), len(info["unexpected_keys"])
    return (type(network).__name__, type(found).__name__, *counts, tower(kind), tower(f"{kind}-again"), saved)


rows = {kind: row(kind) for kind in CONFIGS}
for kind, found in rows.items():
    print(f"{kind:8}", *found)
assert rows == {
    "qwen3_5": ("Qwen3_5ForConditionalGeneration", "Qwen3_5ForCausalLM", 0, 0, "yes", "no", "qwen3_5_text"),
    "gemma3": (*("Gemma3ForConditionalGeneration",) * 2, 0, 0, "yes", "yes", "gemma3"),
    "llava": ("ValueError",),
}, "the behaviour has changed"
PYTHON
