"""On how many cards vLLM can share a model by tensor parallelism.

Each card takes an equal part of every block's query heads and neurons. Key-value heads are shared equally, too, or
each is given to an equal number of cards. vLLM pads the vocabulary itself. From its sources: config/model.py
(verify_with_parallel_config), model_executor/layers/linear.py (divide, QKVParallelLinear).
"""

from __future__ import annotations

from dataclasses import dataclass

from tools.deliver.export.folder import PER_LAYER, SHAPED, Folder
from tools.model.architecture.families import FAMILIES

MOST = 8
"""Cards that are looked at: what one machine holds."""

EXPERTS = ("moe_intermediate_size", "shared_expert_intermediate_size")
"""How configurations call the neurons of an expert, and of what stands beside the experts."""


@dataclass(frozen=True)
class Shared:
    """What cards share of one block."""

    heads: int
    """Query heads; 0 where the block has no attention."""
    kv_heads: int
    neurons: tuple[int, ...]
    """Of its MLP, or of one expert and of what stands beside the experts."""

    def obstacle(self, cards: int) -> str:
        """What so many cards cannot share; empty where they can."""
        if self.heads % cards:
            return f"{self.heads} query heads"
        if self.kv_heads and self.kv_heads % cards and cards % self.kv_heads:
            return f"{self.kv_heads} key-value heads"
        return next((f"{count} neurons" for count in self.neurons if count % cards), "")


def line(folder: Folder) -> str:
    """For people: the numbers of cards that can share the model, and what is in the way of 2, 4 or 8; empty where the
    sizes are not known."""
    blocks = _blocks(folder)
    if not blocks:
        return ""
    found = [n for n in range(1, MOST + 1) if not any(block.obstacle(n) for block in blocks)]
    said = f"loads on {', '.join(map(str, found))} of up to {MOST} cards (--tensor-parallel-size)"
    for cards in (2, 4, 8):
        for index, block in enumerate(blocks):
            if what := block.obstacle(cards):
                return f"{said}: {cards} cannot share {what}" + (f" of block {index}" if len(blocks) > 1 else "")
    return said


def _blocks(folder: Folder) -> list[Shared]:
    """Every kind of block."""
    if folder.model_type in SHAPED:
        layers = folder.shape.layers[:1] if folder.shape.uniform else folder.shape.layers
        return [Shared(of.heads, of.kv_heads, (of.intermediate,)) for of in layers]
    text = folder.settings.get_text_config()
    family = next((family for family in FAMILIES if folder.model_type in family.model_types), None)
    neurons = family.neurons if family else "intermediate_size"
    names = ("num_attention_heads", "num_key_value_heads", neurons, *EXPERTS)
    usual = {name: getattr(text, name, None) for name in names}
    if folder.model_type == "gpt2" and usual[neurons] is None:
        usual[neurons] = 4 * text.hidden_size
    own = folder.text.get(PER_LAYER)  # of a family that knows layers of several sizes, what differs
    found = [usual, *(usual | layer for layer in (own.values() if isinstance(own, dict) else ()))]
    if not usual["num_attention_heads"] or any(not isinstance(of[n], int | None) for of in found for n in names):
        return []
    return [
        Shared(
            of["num_attention_heads"],
            of["num_key_value_heads"] or of["num_attention_heads"],
            tuple(of[name] for name in (neurons, *EXPERTS) if of[name]),
        )
        for of in found
    ]
