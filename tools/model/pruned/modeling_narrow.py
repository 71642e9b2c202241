"""A model whose MLPs are narrower than the configuration of its family can say: BLOOM's are four times its own width.

The configuration's `pruned_shapes` says how many rows and columns a matrix has, by its path inside a block. Nothing
else about the model is changed.
"""

import re
from typing import Any

import torch


class Narrow:
    """Mixed into a family's model or causal language model."""

    named_modules: Any
    set_submodule: Any

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)  # type: ignore[call-arg]  # of the family, which comes next
        shapes = config.get_text_config().pruned_shapes
        for name, module in list(self.named_modules()):
            for path, shape in shapes.items():
                if re.search(rf"\.\d+\.{re.escape(path)}$", name):
                    self.set_submodule(name, smaller(module, *shape))


def smaller(module: Any, rows: int, columns: int) -> Any:
    """A linear map of another size, without values; also of the class that GPT-2 has for it."""
    if isinstance(module, torch.nn.Linear):
        found: Any = torch.nn.Linear(columns, rows, bias=module.bias is not None, device=module.weight.device)
    else:
        found = type(module)(rows, columns).to(module.weight.device)
    return found.to(module.weight.dtype)
