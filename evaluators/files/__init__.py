"""The files of a model: written from a network, run, named."""
