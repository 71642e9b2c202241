#!/usr/bin/env bash
# transformers 5.24.0 reads a GGUF of a Llama without a word about four things that change what it computes or reads.
#
# Seen with transformers 5.24.0, gguf 0.19.0, torch 2.13.0 (CPU), Python 3.11:
#   1. The tensor rope_freqs.weight, in which llama.cpp's converter stores Llama 3.1's stretching of the rotary
#      frequencies, is dropped: rope_type is "default".
#   2. rope.scaling.type "linear" and rope.scaling.factor 4 are dropped: rope_type is "default".
#   3. Without attention.head_count_kv (llama.cpp: as many as heads) the rows of q and k stay in llama.cpp's order.
#   4. The tokenizer of a byte-level vocabulary without <|endoftext|> gets that token, with an id beyond the embedding.
# from_pretrained reports no missing, unexpected or mismatched keys in any of these cases.
#
# Output then:
#   1 rope_type default, missing 0, unexpected 0
#   2 rope_type default, missing 0, unexpected 0
#   3 q as stored by llama.cpp: True, missing 0, unexpected 0
#   4 <|endoftext|> has id 258, the embedding has 258 rows
# Exits 0 while that is so, and 1 when the behaviour has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet transformers==5.24.0 gguf==0.19.0 torch==2.13.0 accelerate==1.15.0
cd "$place"
HF_HUB_OFFLINE=1 "$place/venv/bin/python" - <<'PYTHON'
import sys

import gguf
import numpy as np
import torch
import transformers
from transformers.convert_slow_tokenizer import bytes_to_unicode

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
HIDDEN, HEADS, ROWS = 32, 4, 258
random = np.random.default_rng(0)


def write(name: str, *, heads_kv: bool = True, linear: bool = False, factors: bool = False) -> np.ndarray:
    """A valid Llama of one block; returns the rows of q as they are stored."""
    writer = gguf.GGUFWriter(name, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(48)
    writer.add_head_count(HEADS)
    if heads_kv:
        writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    if linear:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(4.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*bytes_to_unicode().values(), "th", "<|begin_of_text|>"])
    writer.add_token_types([1] * 257 + [3])
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(257)
    shapes = {"token_embd": (ROWS, HIDDEN), "blk.0.ffn_gate": (48, HIDDEN), "blk.0.ffn_up": (48, HIDDEN)}
    shapes |= {"blk.0.ffn_down": (HIDDEN, 48), "output": (ROWS, HIDDEN)}
    shapes |= {f"blk.0.attn_{role}": (HIDDEN, HIDDEN) for role in ("q", "k", "v", "output")}
    shapes |= {norm: (HIDDEN,) for norm in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm")}
    tensors = {f"{key}.weight": random.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}
    if factors:
        tensors["rope_freqs.weight"] = np.array([1, 1, 8, 8], dtype=np.float32)
    for key, values in tensors.items():
        writer.add_tensor(key, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors["blk.0.attn_q.weight"]


def load(name: str):
    plain = transformers.GgufConfig(dequantize=True)
    return transformers.AutoModelForCausalLM.from_pretrained(
        ".", gguf_file=name, quantization_config=plain, dtype=torch.float32, output_loading_info=True
    )


seen = []
for number, options in ((1, {"factors": True}), (2, {"linear": True})):
    write(f"{number}.gguf", **options)
    network, found = load(f"{number}.gguf")
    kind = network.config.rope_parameters["rope_type"]
    print(number, f"rope_type {kind}, missing {len(found['missing_keys'])}, unexpected {len(found['unexpected_keys'])}")
    seen.append(kind == "default" and not found["missing_keys"] and not found["unexpected_keys"])
rows = write("3.gguf", heads_kv=False)
network, found = load("3.gguf")
stored = torch.equal(network.model.layers[0].self_attn.q_proj.weight, torch.from_numpy(rows))
print(3, f"q as stored by llama.cpp: {stored}, missing {len(found['missing_keys'])},", end=" ")
print(f"unexpected {len(found['unexpected_keys'])}")
seen.append(stored and not found["missing_keys"] and not found["unexpected_keys"])
tokenizer = transformers.AutoTokenizer.from_pretrained(".", gguf_file="1.gguf")
more = tokenizer.get_vocab().get("<|endoftext|>")
print(4, f"<|endoftext|> has id {more}, the embedding has {ROWS} rows")
seen.append(more is not None and more >= ROWS)
sys.exit(0 if all(seen) else 1)
PYTHON
