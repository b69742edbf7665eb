"""Drivers: where trials run."""
