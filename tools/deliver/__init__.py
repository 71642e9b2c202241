"""A result as others take it: saved, read back, packed, fine-tuned, exported."""
