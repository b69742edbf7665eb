"""Landscapes that are computed by the benchmarks and their tests: spaces with known results, without training."""
