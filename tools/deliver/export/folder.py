"""A Hugging Face folder as it lies there: its configuration, and name, shape and precision of its tensors.

Everything in it is untrusted: sizes are validated once, here, and weights are looked at through their headers only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from tools.deliver.export.verdict import Cannot
from tools.io.errors import SecateurError, reason
from tools.io.frozen import Frozen
from tools.model import hub
from tools.model.architecture.families import FAMILIES, GATED_MLP, SPLIT_ATTENTION
from tools.model.companions import TOKENIZERS
from tools.model.packed import is_packed
from tools.model.pruned.marks import differs, native

PER_LAYER = "per_layer_config"
"""The key of config.json under which the blocks that differ from the others say how."""

Size = Annotated[int, Field(ge=1, le=2**31)]


class Differs(Frozen):
    """How one block differs from the rest of the model."""

    num_attention_heads: Size | None = None
    num_key_value_heads: Size | None = None
    intermediate_size: Size | None = None
    skip: tuple[Literal["attention", "mlp"], ...] = ()


MOST_BLOCKS = 10_000


class BlockSizes(Frozen):
    """The sizes of one block."""

    heads: int
    """Query heads; 0 where the block has no attention."""
    kv_heads: int
    intermediate: int
    """Neurons; 0 where the block has no MLP."""


class Shape(Frozen):
    """The sizes of a network with split projections and a gated MLP."""

    model_type: str
    hidden: Size
    head_dim: Size
    vocabulary: Size
    layers: tuple[BlockSizes, ...]
    tied: bool
    """The output head is the embedding."""
    qkv_bias: bool
    o_bias: bool
    mlp_bias: bool
    qk_norm: bool

    @property
    def uniform(self) -> bool:
        """Whether all blocks have the same sizes."""
        return len(set(self.layers)) == 1

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor the checkpoint must hold."""
        found: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocabulary, self.hidden),
            "model.norm.weight": (self.hidden,),
        }
        if not self.tied:
            found["lm_head.weight"] = (self.vocabulary, self.hidden)
        for index, layer in enumerate(self.layers):
            place = f"model.layers.{index}."
            found |= {f"{place}{name}": shape for name, shape in (self.attention(layer) | self.mlp(layer)).items()}
            found |= {f"{place}{norm}.weight": (self.hidden,) for norm in self.norms}
        return found

    @property
    def norms(self) -> tuple[str, ...]:
        """Names of the norms of a block; the first is before attention, and stays where a sublayer is skipped."""
        usual = ("input_layernorm", "post_attention_layernorm")
        both_sides = ("pre_feedforward_layernorm", "post_feedforward_layernorm")
        return usual + both_sides if self.model_type in ("gemma2", "gemma3_text") else usual

    def attention(self, layer: BlockSizes) -> dict[str, tuple[int, ...]]:
        """Name inside the block -> shape, of its attention without the norm before it."""
        if not layer.heads:
            return {}
        wide, narrow = layer.heads * self.head_dim, layer.kv_heads * self.head_dim
        found: dict[str, tuple[int, ...]] = {
            "self_attn.q_proj.weight": (wide, self.hidden),
            "self_attn.k_proj.weight": (narrow, self.hidden),
            "self_attn.v_proj.weight": (narrow, self.hidden),
            "self_attn.o_proj.weight": (self.hidden, wide),
        }
        if self.qkv_bias:
            found |= {
                f"self_attn.{role}_proj.bias": (size,) for role, size in zip("qkv", (wide, narrow, narrow), strict=True)
            }
        if self.o_bias:
            found["self_attn.o_proj.bias"] = (self.hidden,)
        if self.qk_norm:
            found |= {f"self_attn.{role}_norm.weight": (self.head_dim,) for role in "qk"}
        return found

    def mlp(self, layer: BlockSizes) -> dict[str, tuple[int, ...]]:
        """The same for the MLP."""
        if not layer.intermediate:
            return {}
        sizes = {"gate": (layer.intermediate, self.hidden), "up": (layer.intermediate, self.hidden)}
        sizes["down"] = (self.hidden, layer.intermediate)
        found: dict[str, tuple[int, ...]] = {f"mlp.{role}_proj.weight": shape for role, shape in sizes.items()}
        if self.mlp_bias:
            found |= {f"mlp.{role}_proj.bias": shape[:1] for role, shape in sizes.items()}
        return found


SHAPED = tuple(
    model_type
    for family in FAMILIES
    if (family.attention, family.mlp, family.blocks) == (SPLIT_ATTENTION, GATED_MLP, "model.layers")
    for model_type in family.model_types
)
"""The `model_type`s that `Shape` describes."""


@dataclass(frozen=True)
class Stored:
    """A tensor as it is stored."""

    file: Path
    shape: tuple[int, ...]
    dtype: str
    """As safetensors calls it: F32, F16, BF16, ..."""


@dataclass(frozen=True)
class Folder:
    """An opened folder."""

    path: Path
    config: Mapping[str, Any]
    """config.json."""

    @classmethod
    def open(cls, path: Path) -> Folder:
        """Read config.json.

        Raises:
            SecateurError: there is no such folder, it holds no readable configuration, or its weights are packed.
        """
        if not path.is_dir():
            raise SecateurError(
                f"{path} is not a folder. Give the folder of a model, with config.json and safetensors."
            )
        file = path / "config.json"
        if not file.is_file():
            raise SecateurError(f"{path} has no config.json, so it is not the folder of a model")
        if is_packed(path):
            raise SecateurError(f"{path} is packed. Export what `secateur restore {path} --output DIR` unpacks.")
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise SecateurError(f"{file} is damaged or unreadable: {reason(error)}") from error
        if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
            raise SecateurError(f"{file} names no model_type, so the architecture is not known")
        return cls(path.resolve(), config)

    @property
    def model_type(self) -> str:
        """Of the family, also where blocks differ."""
        return str(native(self.config)["model_type"])

    @property
    def differs(self) -> bool:
        """Whether blocks differ from each other in a way that the family's own class does not know.

        Whatever Secateur cuts is of a family whose class builds equal blocks. Others (Gemma 4) read a
        `per_layer_config` themselves.
        """
        equal = any(self.model_type in family.model_types for family in FAMILIES)
        return differs(self.config) or (equal and bool(self.text.get(PER_LAYER)))

    @property
    def text(self) -> Mapping[str, Any]:
        """The part of config.json that is about the language model."""
        part = self.config.get("text_config")
        return part if isinstance(part, dict) else self.config

    @property
    def has_tokenizer(self) -> bool:
        """Whether one of the files of a tokenizer is there."""
        return any((self.path / file).is_file() for file in TOKENIZERS)

    @cached_property
    def tensors(self) -> dict[str, Stored]:
        """Name -> tensor, from the headers of the safetensors files.

        Raises:
            Cannot: there are no weights, or a part is missing.
            SecateurError: a file is damaged.
        """
        from safetensors import SafetensorError, safe_open

        if missing := hub.missing_shards(self.path):
            raise Cannot(f"{missing[0]} is missing: download the model again")
        files = hub.weight_files(self.path)
        if not files:
            raise Cannot("there are no weights (looked for *.safetensors)")
        found = {}
        for file in files:
            try:
                with safe_open(file, framework="numpy") as opened:
                    for name in opened.keys():  # noqa: SIM118  # not a dictionary
                        part = opened.get_slice(name)
                        found[name] = Stored(file, tuple(part.get_shape()), str(part.get_dtype()))
            except (SafetensorError, OSError) as error:
                raise SecateurError(f"{file} is damaged or unreadable: {reason(error)}. Download it again.") from error
        return found

    @cached_property
    def settings(self) -> Any:
        """config.json as transformers understands it, without what makes blocks differ: every default is filled in.

        Raises:
            Cannot: transformers does not know the architecture, or refuses the configuration.
        """
        from transformers import CONFIG_MAPPING

        if self.model_type not in CONFIG_MAPPING:
            raise Cannot(f"transformers knows no model_type {self.model_type}")
        blocks = self.config.get("num_hidden_layers")
        if isinstance(blocks, int) and blocks > MOST_BLOCKS:  # transformers makes lists that long
            raise Cannot(f"config.json makes no sense: {blocks} blocks")
        left_out = (PER_LAYER, "quantization_config")
        plain = {key: value for key, value in native(self.config).items() if key not in left_out}
        if self.text is not self.config:
            plain["text_config"] = {key: value for key, value in self.text.items() if key != PER_LAYER}
        try:
            return CONFIG_MAPPING[self.model_type].from_dict(plain)
        except Exception as error:  # whatever transformers trips over in a strange configuration
            raise Cannot(f"transformers refuses config.json: {reason(error)}") from error

    @cached_property
    def shape(self) -> Shape:
        """The sizes that the configuration promises, checked against the tensors that are there.

        Raises:
            Cannot: of an architecture without these sizes, contradictory, or not what is stored.
        """
        shape = self._promised()
        stored = self.tensors
        if odd := next((name for name, tensor in stored.items() if tensor.dtype not in ("F32", "F16", "BF16")), None):
            raise Cannot(f"{odd} is stored as {stored[odd].dtype}: quantised weights cannot be exported")
        for name, size in shape.tensors().items():
            if name not in stored:
                raise Cannot(f"{name} is missing from the weights: the folder is incomplete")
            if stored[name].shape != size:
                is_, should = (" x ".join(map(str, s)) for s in (stored[name].shape, size))
                raise Cannot(f"{name} is {is_}, but config.json says {should}: the folder contradicts itself")
        return shape

    def check(self) -> str:
        """Find everything that a loader will look for; returns, as a line, how far the weights were compared.

        transformers fills weights that do not fit with random numbers, so they are compared before.

        Raises:
            Cannot: something is missing, contradictory or unknown.
        """
        if self.model_type in SHAPED:
            return f"{len(self.shape.tensors())} tensors have the shapes that config.json says"
        return f"{len(self.tensors)} tensors; shapes of {self.settings.model_type} are not compared with config.json"

    def _promised(self) -> Shape:
        if self.model_type not in SHAPED:
            raise Cannot(f"the shapes of {self.model_type} are not known here")
        config, kind = self.settings, self.model_type
        biased = bool(getattr(config, "attention_bias", False))
        heads, hidden = config.num_attention_heads, config.hidden_size
        try:
            return Shape(
                model_type=kind,
                hidden=hidden,
                head_dim=getattr(config, "head_dim", None) or hidden // heads,
                vocabulary=config.vocab_size,
                layers=self._layers(),
                tied=bool(config.tie_word_embeddings),
                qkv_bias=biased or kind == "qwen2",
                o_bias=biased and kind != "qwen2",
                mlp_bias=bool(getattr(config, "mlp_bias", False)),
                qk_norm=kind in ("qwen3", "gemma3_text"),
            )
        except (ValidationError, ArithmeticError, TypeError) as error:
            raise Cannot(f"config.json makes no sense: {_first(error)}") from error

    def _layers(self) -> tuple[BlockSizes, ...]:
        config = self.settings
        different = self._different(config.num_hidden_layers)
        layers = []
        for index in range(config.num_hidden_layers):
            own = different.get(index, Differs())
            heads = own.num_attention_heads or config.num_attention_heads
            kv_heads = own.num_key_value_heads or config.num_key_value_heads or heads
            if heads % kv_heads:
                raise Cannot(
                    f"block {index} has {heads} heads for {kv_heads} key-value heads, which do not divide them"
                )
            attends, computes = "attention" not in own.skip, "mlp" not in own.skip
            layers.append(
                BlockSizes(
                    heads=heads if attends else 0,
                    kv_heads=kv_heads if attends else 0,
                    intermediate=(own.intermediate_size or config.intermediate_size) if computes else 0,
                )
            )
        return tuple(layers)

    def _different(self, blocks: int) -> dict[int, Differs]:
        if not 1 <= blocks <= MOST_BLOCKS:
            raise Cannot(f"config.json makes no sense: {blocks} blocks")
        given = self.config.get(PER_LAYER) or {}
        try:
            found = {int(index): Differs.model_validate(own) for index, own in given.items()}
        except (AttributeError, ValueError) as error:  # pydantic's is a ValueError
            raise Cannot(f"{PER_LAYER} of config.json cannot be read: {_first(error)}") from error
        if strange := [index for index in found if not 0 <= index < blocks]:
            raise Cannot(f"{PER_LAYER} of config.json names block {strange[0]}; there are {blocks}, counted from 0")
        return found


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return reason(error)
