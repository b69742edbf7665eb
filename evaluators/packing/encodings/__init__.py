"""Ways to store a tensor, one a file."""
