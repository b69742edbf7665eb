"""One trial: from a candidate and a plan to measured numbers and files."""
