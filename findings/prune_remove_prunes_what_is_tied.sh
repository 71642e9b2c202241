#!/usr/bin/env bash
# torch.nn.utils.prune.remove changes what a model with tied embeddings computes: only then is the other side of the tie
# pruned too, by every mask that was laid on either side.
#
# Versions:  torch 2.13.0 (CPU), numpy 2.4.6.
# Guess:     pruning a tied weight prunes both sides or unties them, and `remove` leaves the function as it is ("Pruning
#            itself is NOT undone or reversed!" is all that its documentation notes).
# Behaviour: masked, head.weight is a product computed before each call, and head.weight_orig is the parameter that the
#            embedding has too: the head is pruned, the embedding not. `remove` writes the product into this shared
#            parameter and puts it back as head.weight: they are one again, and both are pruned. With a mask on either
#            side, as global_unstructured over all modules lays, half of each is zero, and then three quarters.
# Why it matters: perplexity and sparsity that were measured before `remove` are those of another model than the saved
#            one. Many language models are tied (Llama 3.2 1B, Gemma 2, Qwen2.5 0.5B).
# Output:    masked:   zeros in the head 0.50, in the embedding 0.00
#            removed:  zeros in the head 0.50, in the embedding 0.50, one parameter True, same outputs False
#            two masks at random:  zeros in the head 0.50, in the embedding 0.50
#            both removed:         zeros in the head 0.75, in the embedding 0.75, one parameter True, same outputs False
#            not tied, removed:    zeros in the head 0.50, in the embedding 0.00, one parameter False, same outputs True
#
# Needs a package index and nothing else. Exits with 1 if the behaviour has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "torch==2.13.0" "numpy==2.4.6"
"$work/venv/bin/python" - <<'PYTHON'
import torch
from torch.nn.utils import prune


class Model(torch.nn.Module):
    def __init__(self, tied):
        super().__init__()
        self.embed, self.head = torch.nn.Embedding(256, 64), torch.nn.Linear(64, 256, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def zeros(self):
        head, embed = ((module.weight == 0).double().mean() for module in (self.head, self.embed))
        return f"zeros in the head {head:.2f}, in the embedding {embed:.2f}"

    def removed(self, *modules):
        before = self.head(self.embed(torch.arange(256)))
        for module in modules:
            prune.remove(module, "weight")
        same = torch.equal(before, self.head(self.embed(torch.arange(256))))
        return f"{self.zeros()}, one parameter {self.head.weight is self.embed.weight}, same outputs {same}"


torch.manual_seed(0)
one, two, apart = Model(tied=True), Model(tied=True), Model(tied=False)
prune.l1_unstructured(one.head, "weight", amount=0.5)
said = [f"masked:   {one.zeros()}", f"removed:  {one.removed(one.head)}"]
prune.global_unstructured([(two.head, "weight"), (two.embed, "weight")], prune.RandomUnstructured, amount=0.5)
said += [f"two masks at random:  {two.zeros()}", f"both removed:         {two.removed(two.head, two.embed)}"]
prune.l1_unstructured(apart.head, "weight", amount=0.5)
print(*said, f"not tied, removed:    {apart.removed(apart.head)}", sep="\n")
found = [" ".join(word for word in line.replace(",", "").split() if word[0] in "0TF") for line in said]
assert found == ["0.50 0.00", "0.50 0.50 True False", "0.50 0.50", "0.75 0.75 True False"], "the behaviour has changed"
PYTHON
