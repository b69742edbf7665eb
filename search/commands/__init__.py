"""Commands of `paredown` that are more than a few lines; see `paredown.search.cli`."""
