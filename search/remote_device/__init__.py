"""Measurements on a machine of a Ray cluster, in place of the one that runs the trial."""
