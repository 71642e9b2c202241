"""A model whose blocks differ: some have fewer heads or neurons than others, some no attention or no MLP at all.

The configuration's `per_layer_config` says what differs in which layer. Every block is the family's own, built with its
own sizes; nothing else about the model is changed.
"""

from typing import Any

import torch


class NoAttention(torch.nn.Module):
    """Stands where a block has no attention: adds nothing, and keeps count of the tokens in the cache."""

    def __init__(self, layer_idx: int) -> None:
        super().__init__()
        self.layer_idx = layer_idx

    def forward(self, hidden_states: torch.Tensor, **given: Any) -> tuple[torch.Tensor, None]:
        """Zeros of the shape of `hidden_states`, and no attention weights."""
        # Its name is another from version to version of transformers, and from family to family.
        names = ("cache", "past_key_values", "layer_past")
        cache = next((given[name] for name in names if given.get(name) is not None), None)
        if cache is not None:
            batch, length = hidden_states.shape[:2]
            # One head of width one: a cache asks its first layer how many tokens it holds.
            nothing = hidden_states.new_zeros(batch, 1, length, 1)
            cache.update(nothing, nothing, self.layer_idx)
        return torch.zeros_like(hidden_states), None


class NoMLP(torch.nn.Module):
    """Stands where a block has no MLP: adds nothing."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Zeros of the shape of `hidden_states`."""
        return torch.zeros_like(hidden_states)


class Pruned:
    """Mixed into a family's model or causal language model; `BLOCKS`, `ATTENTION` and `MLP` are paths inside it."""

    BLOCKS = ATTENTION = MLP = ""
    get_submodule: Any
    post_init: Any

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        text = config.get_text_config()
        if not hasattr(text, "is_heterogeneous"):
            raise ImportError("blocks of several sizes need transformers 5.15 or newer")
        sizes = text.to_dict()["per_layer_config"]
        text.per_layer_config = None  # the family's own code knows layers of one size only
        depth, text.num_hidden_layers = text.num_hidden_layers, 1  # dense, and of no other use than to show its class
        super().__init__(config, *args, **kwargs)  # type: ignore[call-arg]  # of the family, which comes next
        text.num_hidden_layers, text.per_layer_config = depth, sizes
        blocks = self.get_submodule(self.BLOCKS)
        kind = type(blocks.pop(0))
        for index, size in enumerate(text.per_layer_config):
            blocks.append(kind(size, index))
            if "attention" in size.skip:
                blocks[index].set_submodule(self.ATTENTION, NoAttention(index))
            if "mlp" in size.skip:
                blocks[index].set_submodule(self.MLP, NoMLP())
        self.post_init()
