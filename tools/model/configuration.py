"""config.json of a result, so that readers other than the transformers that wrote it take the same from it.

Version 5 of transformers writes rotary embeddings as `rope_parameters` and the precision as `dtype`. Readers of version
4 know neither word: they take their own default for the base, 10000 mostly, and say nothing. So both spellings are
written, where version 5 comes to the same with both; that is tried each time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tools.model.pruned.marks import differs, native

NAMING_FILES = ("auto_map", "custom_pipelines", "configuration_files")
"""Entries that name files which a result does not have: code, and configurations for other versions."""

NEOX = ("gpt_neox", "gpt_neox_japanese")

Settings = dict[str, Any]


def finish_configuration(folder: Path, dtype: str) -> None:
    """Mend the config.json that transformers and `write_code` have written.

    Args:
        dtype: the precision that most weights are saved in, as torch calls it.
    """
    file = folder / "config.json"
    config: Settings = json.loads(file.read_text(encoding="utf-8"))
    own_code = config.get("auto_map") if differs(config) else None
    config = {key: value for key, value in config.items() if key not in NAMING_FILES}
    if own_code:
        config["auto_map"] = own_code
    for part in _parts(config):
        if part is config or "dtype" in part:
            part |= {"dtype": dtype, "torch_dtype": dtype}
    older: Settings = json.loads(json.dumps(config))
    for part in _parts(older):
        part |= older_rope(str(native(part)["model_type"]), part.get("rope_parameters"))
    chosen = older if _read_alike(older, config) else config
    file.write_text(json.dumps(chosen, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _parts(config: Settings) -> list[Settings]:
    """A configuration and those inside it, as of a model that also sees."""
    return [config, *(value for value in config.values() if isinstance(value, dict) and "model_type" in value)]


def older_rope(model_type: str, rope: Any) -> Settings:
    """The entries in which version 4 keeps what version 5 has in `rope_parameters`; none where it has no words for it.

    Layers of two kinds (Gemma 3) have two bases there and one scaling, that of the layers with full attention.
    """
    if not isinstance(rope, dict):
        return {}
    kinds = {key: value for key, value in rope.items() if isinstance(value, dict)}
    if not kinds:
        return _flat(model_type, rope)
    full, sliding = kinds.get("full_attention"), kinds.get("sliding_attention")
    if full is None or sliding is None or len(kinds) != len(rope) or "rope_theta" not in sliding:
        return {}
    return _flat(model_type, full) | {"rope_local_base_freq": sliding["rope_theta"]}


def _flat(model_type: str, rope: Mapping[str, Any]) -> Settings:
    base, share = ("rotary_emb_base", "rotary_pct") if model_type in NEOX else ("rope_theta", "partial_rotary_factor")
    found: Settings = {base: rope["rope_theta"]} if rope.get("rope_theta") is not None else {}
    if rope.get("partial_rotary_factor") is not None:
        found[share] = rope["partial_rotary_factor"]
    if rope.get("rope_type", "default") == "default":
        return found
    if model_type == "phi3":  # refuses anything besides these three
        factors = {key: rope[key] for key in ("short_factor", "long_factor") if key in rope}
        return found | {"rope_scaling": {"type": rope["rope_type"]} | factors}
    apart = ("rope_theta", "partial_rotary_factor")
    return found | {"rope_scaling": {k: v for k, v in rope.items() if k not in apart and v is not None}}


def _read_alike(older: Settings, config: Settings) -> bool:
    try:
        return _ropes(older) == _ropes(config)
    except Exception:  # a kind of rotary embedding that takes no words but its own, a value that JSON has no form for
        return False


def _ropes(config: Settings) -> list[Any]:
    """What the installed transformers makes of the rotary embeddings of a configuration and those inside it."""
    from transformers import CONFIG_MAPPING

    plain = json.loads(json.dumps(native(config)))
    with TemporaryDirectory() as scratch:  # from a file, as a reader does: infinities have a form of their own there
        Path(scratch, "config.json").write_text(json.dumps(plain), encoding="utf-8")
        read = CONFIG_MAPPING[plain["model_type"]].from_pretrained(scratch, local_files_only=True)
    names = [None, *(key for key, value in plain.items() if isinstance(value, dict) and "model_type" in value)]
    found = [getattr(getattr(read, name) if name else read, "rope_parameters", None) for name in names]
    return [_without_type(rope) for rope in found]


def _without_type(rope: Any) -> Any:
    """Without the older name of `rope_type`."""
    return {k: _without_type(v) for k, v in rope.items() if k != "type"} if isinstance(rope, dict) else rope
