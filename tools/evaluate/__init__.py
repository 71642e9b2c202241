"""Numbers about a model: perplexity, divergence from the dense model, and speed beside another model."""

from tools.evaluate.divergence import DenseLogits, divergence, remember_dense
from tools.evaluate.latency import measure_latency
from tools.evaluate.perplexity import perplexity
from tools.evaluate.speed import Latency, Plan

__all__ = ["DenseLogits", "Latency", "Plan", "divergence", "measure_latency", "perplexity", "remember_dense"]
