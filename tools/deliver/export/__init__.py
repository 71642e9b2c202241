"""Who can load a folder: a verdict for each runtime, and the files it needs where it cannot read the folder itself.

A folder is plain (an ordinary Hugging Face checkpoint, however narrow or shallow), or its blocks differ from each
other: then config.json says how under `per_layer_config`, and `modeling_pruned.py` lies beside the weights. Nothing
of a folder is executed here.
"""

from __future__ import annotations

from pathlib import Path

from tools.deliver.export.verdict import DTYPES, TARGETS, Cannot, Dtype, Target, Verdict
from tools.io.errors import UsageError

__all__ = ["DTYPES", "TARGETS", "Dtype", "Target", "Verdict", "export"]


def export(folder: Path, target: Target, *, output: Path | None = None, dtype: Dtype | None = None) -> Verdict:
    """Say whether a runtime can load a folder; write what it needs where the folder alone will not do.

    Args:
        folder: a Hugging Face folder; it is only read.
        target: the runtime.
        output: where the copy for vLLM (a folder) or the GGUF (a file) goes; beside `folder` where it is not given.
        dtype: precision or quantisation of the GGUF's matrices; that of the folder, or f16 for float32, where it is
            not given.

    Raises:
        SecateurError: the folder is none or is damaged, or the output exists already or cannot be written.
        UsageError: an option that means nothing for the target.
    """
    from tools.deliver.export import huggingface, llama_cpp, vllm
    from tools.deliver.export.folder import Folder

    if dtype is not None and target != "llama.cpp":
        raise UsageError(f"--dtype is for llama.cpp; {target} takes the weights as they are")
    if output is not None and target == "hf":
        raise UsageError("--output is for vllm and llama.cpp; hf loads the folder itself")
    found = Folder.open(folder)
    try:
        match target:
            case "hf":
                return huggingface.judge(found)
            case "vllm":
                return vllm.export(found, output)
            case "llama.cpp":
                return llama_cpp.export(found, output, dtype)
    except Cannot as no:
        return Verdict(target=target, verdict="cannot", lines=no.lines)
