"""Everything that touches a model: loading, calibration text, statistics, metrics, allocation, pruning, evaluation.

A plain PyTorch library: it knows no language-model client and no terminal, and can be used alone in a notebook.
"""
