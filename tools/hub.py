"""Models of the Hugging Face hub: from its local cache where they are complete, otherwise downloaded."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tools.edges import reason
from tools.errors import SecateurError

LICENCES = ["LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*", "COPYING*"]
FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", *LICENCES]
"""What is downloaded: no pickles, no other formats, and never code."""

TIMEOUT = 10.0
"""Seconds until the hub has to answer."""


def is_hub_id(name: str) -> bool:
    """Whether a name can be meant as `owner/model` (or the `model` of the hub's early days)."""
    return re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name) is not None and not name.endswith(".gguf")


def missing_shards(folder: Path) -> list[str]:
    """Files of weights that the folder's index names and that are not there.

    Raises:
        SecateurError: the index cannot be read, or names what is no safetensors file of the folder.
    """
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return []
    try:
        shards = {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SecateurError(f"{index} is damaged: {reason(error)}. Download it again.") from error
    if strange := sorted(shard for shard in shards if Path(shard).name != shard or not shard.endswith(".safetensors")):
        raise SecateurError(f"{index} names {strange[0]}, which is no safetensors file of that folder")
    return sorted(shard for shard in shards if not (folder / shard).exists())


def download(name: str) -> Path:
    """The local folder of a hub model.

    Raises:
        SecateurError: the hub does not know it, asks for access, or cannot be reached.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if folder := cached(name):
        return folder
    try:
        HfApi().model_info(name, timeout=TIMEOUT)  # asks first, as a download waits long for a hub out of reach
        return Path(snapshot_download(name, allow_patterns=FILES, ignore_patterns=["consolidated*", "*/*"]))
    except GatedRepoError as error:
        raise SecateurError(
            f"{name} is gated: accept its licence on the hub, then log in with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise SecateurError(f"{name} is neither a sample, a folder, a file nor a model of the hub") from error
    except Exception as error:  # the client's exceptions change from release to release
        raise SecateurError(
            f"{name} is neither a sample, a folder nor a file here, and the hub cannot be reached ({reason(error)})"
        ) from error


def cached(name: str) -> Path | None:
    """The folder of a hub model that was downloaded whole; None where it was not."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    complete = any(folder.glob("*.safetensors")) and (folder / "config.json").exists() and not missing_shards(folder)
    return folder if complete else None
