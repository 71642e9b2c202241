#!/usr/bin/env bash
# Two forward passes held in greenlets, each under its own `with torch.inference_mode()`, leave that mode on for good if
# they end in the order in which they began. NumPy's errstate, which looks alike, does not even get in.
#
# Versions:  greenlet 3.5.6, torch 2.13.0 (CPU), numpy 2.4.6.
# Guess:     a mode is off once every `with` is left, as with generators under @torch.inference_mode(), or with threads.
# Behaviour: inference_mode, no_grad and autocast belong to the thread. A greenlet that pauses in one leaves it on for
#            whoever goes on, and each `with` puts back what it found: "on" for the second, which the first had left so.
#            np.errstate belongs, since NumPy 2, to the context, and greenlet gives each greenlet a new, empty one.
# Why it matters: greenlets can hold a model's own forward pass before a block, to prune it by what enters. Tensors made
#            after that are inference tensors, and recovery training fails far from the cause. A mode is to be
#            entered once, outside of the greenlets, and errstate inside of each.
# Output:    errstate: raise for the caller, warn inside; raise inside, warn for the caller
#            last begun ends first:   inference mode while held True, when all are over False
#            first begun ends first:  inference mode while held True, when all are over True
#            training a layer after that: element 0 of tensors does not require grad and does not have a grad_fn
# Needs a package index and nothing else. Exits with 1 if the behaviour has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "greenlet==3.5.6" "torch==2.13.0" "numpy==2.4.6"
"$work/venv/bin/python" - <<'PYTHON'
import numpy as np
import torch
from greenlet import getcurrent, greenlet

caller = getcurrent()


def held(mode):
    def forward():
        with mode():
            caller.switch(np.geterr()["divide"])  # before a block

    return (started := greenlet(forward)), started.switch()


with np.errstate(divide="raise"):
    one, inside = held(torch.enable_grad)
other, raising = held(lambda: np.errstate(divide="raise"))
errors = (inside, raising, np.geterr()["divide"])
print("errstate: raise for the caller, {} inside; {} inside, {} for the caller".format(*errors))
assert errors == ("warn", "raise", "warn"), "the behaviour has changed"
one.switch()
other.switch()
for order, step, stays in (("last begun ends first:  ", -1, False), ("first begun ends first: ", 1, True)):
    passes = [held(torch.inference_mode)[0] for _ in range(2)]
    between = torch.is_inference_mode_enabled()
    for each in passes[::step]:
        each.switch()
    after = torch.is_inference_mode_enabled()
    print(f"{order} inference mode while held {between}, when all are over {after}")
    assert (between, after) == (True, stays), "the behaviour has changed"
try:
    torch.nn.Linear(4, 4)(torch.ones(1, 4)).sum().backward()
    raise SystemExit("the behaviour has changed")
except RuntimeError as error:
    print("training a layer after that:", error)
PYTHON
