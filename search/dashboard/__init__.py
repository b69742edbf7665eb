"""Optuna's dashboard for a review of studies: read-only, on this machine alone, with what our own tables know."""
