"""What transformers needs to load a folder."""

from __future__ import annotations

import re

from tools.deliver.export.folder import Folder
from tools.deliver.export.verdict import Cannot, Verdict
from tools.model.companions import TOKENIZERS
from tools.model.pruned.classes import auto_class
from tools.model.pruned.marks import SHAPES

CLASS = "AutoModelForCausalLM"


def judge(folder: Folder) -> Verdict:
    """Plain from_pretrained, or with the folder's own code.

    Raises:
        Cannot: something is missing, contradictory or unknown.
    """
    needs, lines = [], [folder.check()]
    if folder.differs:
        module = modeling_file(folder)
        marked = folder.model_type != folder.config["model_type"]
        if marked:
            modeling_file(folder, "AutoConfig")
        needs.append("trust_remote_code=True")
        narrow = SHAPES in folder.text
        why = "no field says how wide its MLPs are" if narrow else "its blocks differ from each other"
        lines.append(f"needs trust_remote_code=True ({module}): {why}, read it first")
        if not narrow:
            lines.append("needs transformers 5.15 or newer, whose configurations know blocks of several sizes")
        if not marked:
            lines.append("without that code transformers may fill what was left out with random numbers: save it anew")
    if not folder.has_tokenizer:
        needs.append("a tokenizer")
        lines.append(f"needs a tokenizer: there is none of {', '.join(TOKENIZERS)}")
    remote = ", trust_remote_code=True" if folder.differs else ""
    loader = CLASS if folder.differs else auto_class(folder.config).__name__
    lines.append(f'{loader}.from_pretrained("{folder.path}"{remote})')
    return Verdict(target="hf", verdict="needs" if needs else "ok", lines=tuple(lines))


def modeling_file(folder: Folder, asked: str = CLASS) -> str:
    """The file of the folder's own code, which `auto_map` names for the class that is asked for.

    Raises:
        Cannot: no such entry, or no such file; a native class would build equal blocks and refuse the weights.
    """
    entry = folder.config.get("auto_map")
    named = entry.get(asked) if isinstance(entry, dict) else None
    if not isinstance(named, str) or not re.fullmatch(r"\w+\.\w+", named):
        raise Cannot(f"its blocks differ from each other, and config.json names no code under auto_map.{asked}")
    module = named.partition(".")[0] + ".py"
    if not (folder.path / module).is_file():
        raise Cannot(f"its blocks differ from each other, and the code for that, {module}, is missing")
    return module
