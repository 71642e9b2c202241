"""Numbers about a model: perplexity, divergence from the dense model, speed, what it writes, and tasks."""
