#!/usr/bin/env bash
# Perplexities of lm-eval's rolling tasks (wikitext and others) of a model whose tokenizer puts BOS before a text, as
# those of Llama and Mistral do, hold one token too many: BOS itself, predicted after another BOS.
#
# Versions:  lm-eval 0.4.13, transformers 5.24.0, torch 2.13.0.
# Behaviour: HFLM.loglikelihood_rolling encodes a text with `tok_encode`, which adds BOS, and puts its prefix token, BOS
#            again, before that. The model reads two BOS, and log P(BOS | BOS) is in the sum over the text, while words
#            and bytes are counted without it. No model was trained to predict BOS, so that summand may be anything.
#            With `add_bos_token=False` the text is read after one BOS, and nothing but the text is scored.
# Output:    as it is:             read [0, 0, 2, 3, 4], the sum is that of the tokens [0, 2, 3, 4, 5]
#            add_bos_token=False:  read [0, 2, 3, 4], the sum is that of the tokens [2, 3, 4, 5]
# What Secateur does about it: whole texts are read after one BOS, which is never scored (tools/measure/tasks/speaker.py).
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
import sys

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

words = ["<s>", "</s>", "the", "tree", "is", "green"]
made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="</s>"))
made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
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
TEXT = [2, 3, 4, 5]
seen = []


def note(module, arguments, named):
    seen.append((named.get("input_ids") if "input_ids" in named else arguments[0]).tolist()[0])


def direct(ids, scored):
    """Sum over the tokens from that place on."""
    with torch.no_grad():
        scores = network(torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(float(scores[place - 1, ids[place]]) for place in range(scored, len(ids)))


def rolling(**options):
    model = HFLM(pretrained=network, tokenizer=tokenizer, batch_size=1, **options)
    handle = network.register_forward_pre_hook(note, with_kwargs=True)
    request = Instance("loglikelihood_rolling", {}, ("the tree is green",), 0, ("", 0, 1))
    (found,) = model.loglikelihood_rolling([request], disable_tqdm=True)
    handle.remove()
    return found, seen.pop()


found, read = rolling()
both = [0, 0, *TEXT]
assert read == both[:-1], read
assert abs(found - direct(both, 1)) < 1e-4
assert abs(found - direct(both, 2)) > 1e-2
print(f"as it is:             read {read}, the sum is that of the tokens {both[1:]}")
found, read = rolling(add_bos_token=False)
assert read == [0, *TEXT][:-1], read
assert abs(found - direct([0, *TEXT], 1)) < 1e-4
print(f"add_bos_token=False:  read {read}, the sum is that of the tokens {TEXT}")
PYTHON
