"""Architecture families, one a file."""
