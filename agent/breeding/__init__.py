"""Evolution without a language model: variation and selection as pure functions of a seeded random generator."""
