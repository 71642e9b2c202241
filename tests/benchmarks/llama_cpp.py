"""What llama.cpp makes of exported models. Run by hand: python -m tests.benchmarks.llama_cpp MODEL [--python PYTHON]

MODEL, the folder of a Llama in full precision, and three smaller models made from it (fewer blocks, narrower blocks,
blocks that differ from each other) are exported to GGUF in float32 and served by llama.cpp; its greedy continuation of
a prompt of token ids must be that of transformers, and so must the ids of a text. The server comes from the package
`xllamacpp` (llama.cpp as a wheel), which may be installed for another Python than this one: --python names it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers as tf

from tests.tools.blocks_that_differ import Block, narrow
from tools.deliver.export import export

SERVER = """
import sys, time, xllamacpp
p = xllamacpp.CommonParams()
p.model.path, p.port, p.hostnames = sys.argv[1], int(sys.argv[2]), ["127.0.0.1"]
p.n_ctx, p.n_parallel = 256, 1
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(p)
print("ready", flush=True)
while True:
    time.sleep(1)
"""
PROMPT = "The three states of the union that I like most are"
TEXT = "In 1946, 1'234 people  went\n\n to Zürich; they'd say: \"WE'LL go!\"\tfor x in range(10): y += 3.14 🦙"


def ask(port: int, path: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)


@contextmanager
def serving(python: str, file: Path, port: int) -> Iterator[None]:
    """A server of the file, until the body ends."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([python, "-c", SERVER, str(file), str(port)], stdout=said, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                try:
                    ask(port, "/health")
                    break
                except (urllib.error.URLError, ConnectionError):
                    time.sleep(1)
            if process.poll() is not None:
                said.seek(0)
                raise SystemExit(f"the server ended: {said.read().decode(errors='replace')[-3000:]}")
            yield
        finally:
            process.terminate()
            process.wait()


def greedy(network: Any, ids: list[int], count: int) -> list[int]:
    found = torch.tensor([ids])
    with torch.no_grad():
        for _ in range(count):
            found = torch.cat([found, network(input_ids=found, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
    return [int(i) for i in found[0, len(ids) :]]


def load(folder: Path) -> Any:
    return tf.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval().requires_grad_(False)


def as_it_is(model: Path, tokenizer: Any, folder: Path) -> Any:
    network = load(model)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return network


def shallower(model: Path, tokenizer: Any, folder: Path) -> Any:
    """Every fifth block is gone."""
    network = load(model)
    kept = [block for index, block in enumerate(network.model.layers) if index % 5 != 3]
    network.model.layers = torch.nn.ModuleList(kept)
    network.config.num_hidden_layers = len(kept)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load(folder)


def narrower(model: Path, tokenizer: Any, folder: Path) -> Any:
    """A third of the neurons and one group of heads is gone, from every block."""
    network = load(model)
    config = network.config
    own = smaller(config, config.num_key_value_heads - 1)
    narrow(network, tokenizer, dict.fromkeys(range(config.num_hidden_layers), own), folder)
    plain = json.loads((folder / "config.json").read_text())
    for key in ("per_layer_config", "auto_map", "architectures"):
        del plain[key]
    (folder / "config.json").write_text(json.dumps(plain | own))
    return load(folder)


def different(model: Path, tokenizer: Any, folder: Path) -> Any:
    """Every third block is narrower, or without attention, or without MLP; the others are as they were."""
    network = load(model)
    kinds: tuple[Block, ...] = (smaller(network.config, 1), {"skip": ["attention"]}, {"skip": ["mlp"]})
    blocks = {i: kinds[i // 3 % 3] for i in range(0, network.config.num_hidden_layers, 3)}
    narrow(network, tokenizer, blocks, folder)
    return network


def smaller(config: Any, groups: int) -> Block:
    heads = config.num_attention_heads // config.num_key_value_heads * groups
    neurons = config.intermediate_size * 2 // 3
    return {"num_attention_heads": heads, "num_key_value_heads": groups, "intermediate_size": neurons}


VARIANTS: dict[str, Callable[[Path, Any, Path], Any]] = {
    "as it is": as_it_is,
    "fewer blocks": shallower,
    "narrower blocks": narrower,
    "blocks that differ": different,
}


def compare(name: str, model: Path, scratch: Path, asked: argparse.Namespace) -> bool:
    """Export one variant, and print what llama.cpp and transformers make of it."""
    tokenizer = tf.AutoTokenizer.from_pretrained(model)
    folder = scratch / name.replace(" ", "-")
    network = VARIANTS[name](model, tokenizer, folder)
    verdict = export(folder, "llama.cpp", dtype="f32")
    ids = tokenizer(PROMPT)["input_ids"]
    expected = greedy(network, ids, asked.tokens)
    with serving(asked.python, verdict.files[0], asked.port):
        settings = {"temperature": 0, "n_predict": asked.tokens, "return_tokens": True, "cache_prompt": False}
        found = ask(asked.port, "/completion", {"prompt": ids, **settings})["tokens"]
        cut = ask(asked.port, "/tokenize", {"content": TEXT, "add_special": True})["tokens"]
    same, cuts = found == expected[: len(found)] and bool(found), cut == tokenizer(TEXT)["input_ids"]
    print(f"{name}: {'equal' if same else 'DIFFERENT'}, text cut {'alike' if cuts else 'DIFFERENTLY'}")
    print("\n".join(f"  {line}" for line in verdict.lines))
    print(f"  transformers  {tokenizer.decode(expected)!r}\n  llama.cpp     {tokenizer.decode(found)!r}", flush=True)
    return same and cuts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--python", default=sys.executable, help="the Python that has xllamacpp")
    parser.add_argument("--port", type=int, default=8391)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--only", choices=VARIANTS, help="one of the variants")
    parser.add_argument("--scratch", type=Path, help="where models are written, 4 times MODEL's size twice over")
    asked = parser.parse_args()
    if subprocess.run([asked.python, "-c", "import xllamacpp"], capture_output=True, check=False).returncode:
        print(f"skipped: {asked.python} has no package xllamacpp")
        return
    with tempfile.TemporaryDirectory(dir=asked.scratch) as scratch:
        names = [asked.only] if asked.only else list(VARIANTS)
        found = [compare(name, asked.model, Path(scratch), asked) for name in names]
    if not all(found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
