"""Schedulers: which running trials are worth going on with."""
