"""The study file that a user writes, its checks, and the objects of a search that are made from it."""
