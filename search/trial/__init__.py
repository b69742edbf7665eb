"""Runs one trial: from a candidate and a plan to measurements and files."""
