"""Tasks of lm-eval, answered by one model or two, with what can be concluded from them.

`Harness` is lm-eval in a process of its own, `evaluate` has a model answer it, `compare` holds two models' answers
against each other. Nothing here is imported before it is needed: lm-eval takes seconds.
"""

from tools.measure.tasks.evaluate import Price, Subject, evaluate, price, subject_of
from tools.measure.tasks.plan import COMMONSENSE, TaskPlan, task_names
from tools.measure.tasks.process import Harness
from tools.measure.tasks.scores import Comparison, Difference, Score, TaskProtocol, TaskScores, compare

__all__ = [
    "COMMONSENSE",
    "Comparison",
    "Difference",
    "Harness",
    "Price",
    "Score",
    "Subject",
    "TaskPlan",
    "TaskProtocol",
    "TaskScores",
    "compare",
    "evaluate",
    "price",
    "subject_of",
    "task_names",
]
