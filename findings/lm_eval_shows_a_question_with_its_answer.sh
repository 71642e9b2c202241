#!/usr/bin/env bash
# With few shots, lm-eval may show a model the very question that it is asked, with its right answer, where examples come
# from the split that is asked: a local task with nothing but a test split, or one whose fewshot_split is its validation.
#
# Versions:  lm-eval 0.4.13.
# Behaviour: A question is left out of its own examples only if `fewshot_split` is named and equal to `test_split`. A task
#            with a test split alone that names no `fewshot_split` draws from it all the same (a warning says that this is
#            not recommended), and so does a task that is asked from its validation split. `fewshot_split: test` beside
#            `test_split: test` helps.
# Output:    test split alone:               2 of 6 questions stand among their own 3 examples
#            asked and shown by validation:  2 of 6 questions stand among their own 3 examples
#            fewshot_split named test:       0 of 6 questions stand among their own 3 examples
# What Secateur does about it: local tasks name the split of their examples (tools/measure/tasks/local.py).
#
# Needs a package index and nothing else. Exits with 1 if the behaviour has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf"
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check \
    "lm_eval[hf]==0.4.13" transformers==5.24.0 torch==2.13.0 "python-dateutil>=2.9"

venv/bin/python - 2>"$work/log" <<'PYTHON' || { tail -n 3 "$work/log"; exit 1; }
import datasets
from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

ROWS = [{"query": f"Question {i}", "choices": ["yes", "no"], "gold": i % 2} for i in range(6)]


class Dummy(LM):
    def loglikelihood(self, requests, **_):
        return [(0.0, False) for _ in requests]

    def loglikelihood_rolling(self, requests, **_):
        raise NotImplementedError

    def generate_until(self, requests, **_):
        raise NotImplementedError


def count(**splits):
    part = splits.get("test_split") or splits["validation_split"]
    task = {
        "task": "mine",
        "custom_dataset": lambda **_: datasets.DatasetDict({part: datasets.Dataset.from_list(ROWS)}),
        "output_type": "multiple_choice",
        "doc_to_text": "query",
        "doc_to_choice": "choices",
        "doc_to_target": "gold",
        "metric_list": [{"metric": "acc"}],
        **splits,
    }
    manager = TaskManager(include_defaults=False)
    found = simple_evaluate(Dummy(), tasks=[task], task_manager=manager, num_fewshot=3, bootstrap_iters=0)
    prompts = [sample["arguments"][0][0] for sample in found["samples"]["mine"]]
    assert len(prompts) == len(ROWS)
    assert all(len(prompt.split("\n\n")) == 4 for prompt in prompts)
    return sum(prompt.count(prompt.split("\n\n")[-1]) > 1 for prompt in prompts)


for name, splits, expected in (
    ("test split alone:", {"test_split": "test"}, True),
    ("asked and shown by validation:", {"validation_split": "dev", "fewshot_split": "dev"}, True),
    ("fewshot_split named test:", {"test_split": "test", "fewshot_split": "test"}, False),
):
    own = count(**splits)
    print(f"{name:<31} {own} of {len(ROWS)} questions stand among their own 3 examples")
    assert (own > 0) == expected, "the behaviour has changed"
PYTHON
