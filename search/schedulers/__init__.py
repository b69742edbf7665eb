"""Schedulers, which decide which running trials continue."""
