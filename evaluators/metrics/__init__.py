"""What is measured of a candidate: one metric a file."""
