#!/usr/bin/env bash
# Statistics of a layer's inputs are usually collected with forward hooks on every nn.Linear (Wanda, SparseGPT and all
# that follow them). In a Mamba of transformers one of the four linear layers of a block never runs its hook.
#
# Seen with transformers 5.24.0 and torch 2.13.0 on a CPU, where Mamba takes its slow path: `dt_proj` is an nn.Linear, but
# the mixer multiplies with `dt_proj.weight` by itself. Hooks fire for in_proj, x_proj and out_proj only:
#
#     in_proj 2, x_proj 2, dt_proj 0, out_proj 2
#
# Sums over its inputs stay at zero tokens; a norm per token divides by zero, a mask by |W| ||x|| is one of ties.
# The weight is used all the same: zeroing it changes the logits.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check transformers==5.24.0 torch==2.13.0
venv/bin/python - <<'PYTHON'
import logging

logging.disable(logging.WARNING)

import torch
from transformers import MambaConfig, MambaForCausalLM

torch.manual_seed(0)
config = MambaConfig(vocab_size=64, hidden_size=32, state_size=4, num_hidden_layers=2)
network = MambaForCausalLM(config).eval()
names = ("in_proj", "x_proj", "dt_proj", "out_proj")
calls = dict.fromkeys(names, 0)


def count(name):
    def hook(module, args, output):
        calls[name] += 1

    return hook


for path, module in network.named_modules():
    leaf = path.rpartition(".")[2]
    if leaf in names:
        assert isinstance(module, torch.nn.Linear)
        module.register_forward_hook(count(leaf))

ids = torch.arange(8, 24)[None]
with torch.no_grad():
    before = network(ids, use_cache=False).logits
print(", ".join(f"{name} {calls[name]}" for name in names))
assert calls == {"in_proj": 2, "x_proj": 2, "dt_proj": 0, "out_proj": 2}, calls
with torch.no_grad():
    for layer in network.backbone.layers:
        layer.mixer.dt_proj.weight.zero_()
    after = network(ids, use_cache=False).logits
assert not torch.equal(before, after), "the weight is not used at all"
PYTHON
