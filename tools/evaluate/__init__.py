"""Numbers about a model: perplexity, and divergence from the dense model."""

from tools.evaluate.divergence import DenseLogits, divergence, remember_dense
from tools.evaluate.perplexity import perplexity

__all__ = ["DenseLogits", "divergence", "perplexity", "remember_dense"]
