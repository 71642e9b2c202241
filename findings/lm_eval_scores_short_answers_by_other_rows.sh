#!/usr/bin/env bash
# lm-eval returns a wrong log-likelihood, silently, where two requests read the same tokens and score a different number
# of them: ("the tree", " is") beside ("the", " tree was").
#
# Versions:  lm-eval 0.4.13, transformers 5.24.0, torch 2.13.0.
# Behaviour: HFLM groups requests by context + continuation[:-1] and computes each group once, by its longest
#            continuation. A shorter continuation is then gathered from the first rows of those logits, where its rows
#            are the last ones: `torch.gather(logits, 2, cont_toks.unsqueeze(-1))` with fewer tokens than rows. Whether
#            it is greedy is decided by the right rows. Either request alone is right, and so is `logits_cache=False`.
# Output:    beside the other:     wrong by more than 0.1
#            alone:                right
#            logits_cache=False:   right
# What Secateur does about it: the cache is off where such requests meet (tools/measure/tasks/speaker.py).
#
# Needs a package index and nothing else. Exits with 1 if the behaviour has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf"
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check \
    "lm_eval[hf]==0.4.13" transformers==5.24.0 torch==2.13.0 "python-dateutil>=2.9"

venv/bin/python - 2>"$work/log" <<'PYTHON' || { tail -n 3 "$work/log"; exit 1; }
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

words = ["<s>", "</s>", "the", "tree", "is", "was"]
made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="</s>"))
made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="</s>")
config = LlamaConfig(
    vocab_size=6,
    hidden_size=16,
    intermediate_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    max_position_embeddings=32,
    bos_token_id=0,
    eos_token_id=1,
)
torch.manual_seed(0)
network = LlamaForCausalLM(config).eval()
torch.nn.init.normal_(network.lm_head.weight)
with torch.no_grad():
    right = float(network(torch.tensor([[2, 3]])).logits[0, -1].log_softmax(-1)[4])


def first(*requests, **options):
    """lm-eval's answer to the first of them."""
    model = HFLM(pretrained=network, tokenizer=tokenizer, batch_size=8, **options)
    asked = [Instance("loglikelihood", {}, request, 0, ("", 0, 1)) for request in requests]
    return model.loglikelihood(asked, disable_tqdm=True)[0][0]


short, long = ("the tree", " is"), ("the", " tree was")
off = abs(first(short, long) - right)
assert off > 0.1, off
print("beside the other:     wrong by more than 0.1")
assert abs(first(short) - right) < 1e-4
print("alone:                right")
assert abs(first(short, long, logits_cache=False) - right) < 1e-4
print("logits_cache=False:   right")
PYTHON
