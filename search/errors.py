"""Errors of the search; see `paredown.spaces.errors` for the tree."""

from paredown.spaces.errors import ParedownError


class ConfigError(ParedownError):
    """A study file or an option says something that cannot be."""


class SearchAborted(ParedownError):
    """The search cannot go on; all that is finished is saved."""
