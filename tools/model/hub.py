"""Models of the Hugging Face hub: from its local cache where they are complete, otherwise downloaded."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from tools.io.errors import SecateurError, reason
from tools.io.files import sha256

LICENCES = ["LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*", "COPYING*"]
FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", *LICENCES]
"""What is downloaded: no pickles, no other formats, and never code."""

TIMEOUT = 10.0
"""Seconds until the hub has to answer."""


PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""How files end that hold weights as pickles."""

NO_WEIGHTS = ("training_args", "optimizer", "scheduler", "rng_state", "scaler")
"""How pickles begin that training leaves beside the weights."""


_TOKENIZER = (
    "tokenizer*",
    "vocab*",
    "merges*",
    "added_tokens*",
    "special_tokens*",
    "tekken*",
    "*.model",
    "*.tiktoken",
)


def pickled(names: Iterable[str]) -> str:
    """What there is to say of a model, some of whose files are pickles with weights; empty where none is.

    Args:
        names: of all its files; that none of them is safetensors or GGUF was seen before.
    """
    found = [name for name in sorted(names) if name.endswith(PICKLES) and not name.startswith(NO_WEIGHTS)]
    if not found:
        return ""
    return (
        f"holds its weights as a pickle only ({found[0]}), which is not read: loading one can run code. Convert it"
        " where you trust it, with transformers: AutoModelForCausalLM.from_pretrained(OLD).save_pretrained(NEW) writes"
        " safetensors, AutoTokenizer does the same for the tokenizer."
    )


def is_hub_id(name: str) -> bool:
    """Whether a name can be meant as `owner/model` (or the `model` of the hub's early days)."""
    return re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name) is not None and not name.endswith(".gguf")


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers loads a folder's weights from: not what lies there in another form besides, as the
    `consolidated.safetensors` of Mistral's folders."""
    usual = folder / "model.safetensors"
    if usual.exists():
        return [usual]
    return [folder / shard for shard in _shards(folder)] or sorted(folder.glob("*.safetensors"))


def tokenizer_sha256(folder: Path) -> str:
    """Of the names and bytes of the files that transformers makes a tokenizer from."""
    files = sorted(file for file in folder.iterdir() if any(fnmatch(file.name, name) for name in _TOKENIZER))
    lines = [f"{file.name} {sha256(file)}\n" for file in files if file.is_file()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def generation_sha256(folder: Path) -> str:
    """Of the file that says how a model writes; empty where there is none."""
    file = folder / "generation_config.json"
    return sha256(file) if file.is_file() else ""


def missing_shards(folder: Path) -> list[str]:
    """Files of weights that the folder's index names and that are not there.

    Raises:
        SecateurError: the index cannot be read, or names what is no safetensors file of the folder.
    """
    return [shard for shard in _shards(folder) if not (folder / shard).exists()]


def _shards(folder: Path) -> list[str]:
    """Names of the files that the folder's index names; none where it has no index."""
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return []
    try:
        shards = {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SecateurError(f"{index} is damaged: {reason(error)}. Download it again.") from error
    if strange := sorted(shard for shard in shards if Path(shard).name != shard or not shard.endswith(".safetensors")):
        raise SecateurError(f"{index} names {strange[0]}, which is no safetensors file of that folder")
    return sorted(shards)


def download(name: str) -> Path:
    """The local folder of a hub model.

    Raises:
        SecateurError: the hub does not know it, asks for access, cannot be reached, or its weights are not read here.
    """
    from huggingface_hub import snapshot_download

    if folder := cached(name):
        return folder
    check_there(name)  # a download waits long for a hub out of reach
    with _told(name):
        return Path(snapshot_download(name, allow_patterns=FILES, ignore_patterns=["consolidated*", "*/*"]))


def check_there(name: str) -> None:
    """Ask the hub whether it has a model whose weights are read here; errors as of `download`."""
    from huggingface_hub import HfApi

    with _told(name):
        files = [file.rfilename for file in HfApi().model_info(name, timeout=TIMEOUT).siblings or []]
        check_readable(name, files)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Make one line of what the hub's client raises."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        yield
    except SecateurError:
        raise
    except GatedRepoError as error:
        raise SecateurError(
            f"{name} is gated: accept its licence on the hub, then log in with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise SecateurError(f"{name} is neither a sample, a folder, a file nor a model of the hub") from error
    except Exception as error:  # the client's exceptions change from release to release
        here = _snapshot(name)
        if here is not None and (lost := pickled(file.name for file in here.iterdir())):
            raise SecateurError(f"{name} {lost}") from error
        raise SecateurError(
            f"{name} is neither a sample, a folder nor a file here, and the hub cannot be reached ({reason(error)})"
        ) from error


def check_readable(name: str, files: list[str]) -> None:
    """Raise SecateurError if none of the files of a hub model is one of safetensors.

    Args:
        name: of the model. files: paths inside its repository.
    """
    here = [file for file in files if "/" not in file]
    if any(file.endswith(".safetensors") for file in here):
        return
    if graphs := [file for file in files if file.endswith(".gguf")]:
        raise SecateurError(f"{name} holds GGUF files only. Download one (for example {graphs[0]}) and give its path.")
    raise SecateurError(f"{name} {pickled(here) or 'has no weights (looked for *.safetensors)'}")


def cached(name: str) -> Path | None:
    """The folder of a hub model that was downloaded whole; None where it was not."""
    folder = _snapshot(name)
    if folder is None:
        return None
    complete = any(folder.glob("*.safetensors")) and (folder / "config.json").exists() and not missing_shards(folder)
    return folder if complete else None


def _snapshot(name: str) -> Path | None:
    """What the local cache holds of a model, complete or not."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
