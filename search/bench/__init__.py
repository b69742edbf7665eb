"""Races of samplers over tables of evaluated networks."""
