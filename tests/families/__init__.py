"""A tiny random model of every causal language model class of transformers, and what pruning comes to on it."""
