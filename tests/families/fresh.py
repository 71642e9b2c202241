"""A process that knows transformers and not this project: loads folders and says whether they are what they should be.

Run as a file, by `trial.Fresh`: every line that comes in names folders, each with a file beside it of what is expected;
for each a line goes out that is empty, or says what is wrong. A fork does it, which may crash or take too long.
"""

import gc
import os
import signal
import sys
import warnings
from pathlib import Path

PROJECT = ("agent", "memory", "runs", "secateur", "tests", "tools", "tui")
SECONDS = 120
NEW = 4  # tokens that are generated


class Hidden:
    """Finds nothing of the project, wherever it is installed."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in PROJECT:
            raise ImportError(f"{name} is out of reach here")


def compared(folder, expected):
    """Empty, or what is wrong with a saved folder."""
    import torch
    from safetensors.torch import load_file

    asked = load_file(expected)
    own_code = any(Path(folder).glob("*.py"))
    network, found = loader(folder, own_code).from_pretrained(
        folder, dtype="float32", trust_remote_code=own_code, output_loading_info=True
    )
    if absent := [*found["missing_keys"], *found["mismatched_keys"], *found["unexpected_keys"]]:
        return f"loads with {len(absent)} weights missing or beyond, first {sorted(map(str, absent))[0]}"
    network.eval()
    with torch.no_grad():
        logits = network(asked["ids"], use_cache=False).logits
    difference = float((logits - asked["logits"]).norm() / asked["logits"].norm())
    if not difference < 1e-4:
        return f"logits differ by {difference:.2g} after loading"
    return by_cache(network, asked["ids"]) if "cached" in asked else ""


def loader(folder, own_code):
    """AutoModelForCausalLM, or the class that is named where that does not know what was saved."""
    import transformers

    if own_code:
        return transformers.AutoModelForCausalLM
    config = transformers.AutoConfig.from_pretrained(folder)
    known = type(config) in transformers.AutoModelForCausalLM._model_mapping
    return transformers.AutoModelForCausalLM if known else getattr(transformers, config.architectures[0])


def by_cache(network, ids):
    """Have a network generate with a cache; empty where that says what whole passes without one say."""
    import torch

    with torch.no_grad():
        found = network.generate(ids, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False, use_cache=True,
                                 output_logits=True, return_dict_in_generate=True)  # fmt: skip
        whole = network(found.sequences, use_cache=False).logits[:, -NEW - 1 : -1].float()
    difference = float((torch.stack(found.logits, dim=1).float() - whole).norm() / whole.norm())
    return "" if difference < 1e-3 else f"with a cache its logits differ by {difference:.2g} from those without"


def tried(folder):
    """The same, whatever loading comes to."""
    try:
        return compared(folder, Path(folder).with_suffix(".safetensors"))
    except BaseException as error:  # it is the answer
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def answered(folders):
    """What is wrong with each of some folders, from a fork with a time limit."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # some families print (Reformer)
        signal.alarm(SECONDS)
        for folder in folders:
            os.write(writing, tried(folder).replace("\n", " ").encode() + b"\n")
        os._exit(0)
    os.close(writing)
    said = b"".join(iter(lambda: os.read(reading, 4096), b"")).decode().split("\n")[:-1]
    os.close(reading)
    os.waitpid(child, 0)
    return said + [f"dies, or takes more than {SECONDS} s, when it is loaded"] * (len(folders) - len(said))


def main():
    """Answer line after line."""
    sys.meta_path.insert(0, Hidden)
    warnings.filterwarnings("ignore")
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig
    from transformers.utils import logging

    logging.set_verbosity_error()
    torch.set_num_threads(1)
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    AutoModelForCausalLM.from_config(LlamaConfig(**small, vocab_size=8))  # so that forks need not import
    gc.freeze()
    for line in sys.stdin:
        for said in answered(line.rstrip("\n").split("\t")):
            print(said, flush=True)


if __name__ == "__main__":
    main()
