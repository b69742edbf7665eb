"""Tasks: data, splits and classes."""
