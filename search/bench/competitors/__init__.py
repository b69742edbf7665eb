"""Outside tools as samplers, one a file."""
