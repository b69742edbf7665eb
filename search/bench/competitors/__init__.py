"""Outside tools as samplers, one per file."""
