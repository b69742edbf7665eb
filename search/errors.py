"""Errors of the search; see `paredown.spaces.errors` for the tree."""

from collections.abc import Mapping

from paredown.spaces.errors import ParedownError


class ConfigError(ParedownError):
    """A study file or an option says something that cannot be."""


class SearchAborted(ParedownError):
    """The baseline or too many trials in a row failed; all that is finished is saved."""


class ClusterLost(ParedownError):
    """The machines that run the trials are gone; all that is finished is saved, and the search can go on later."""


def check_name(name: str, catalogue: Mapping[str, object], where: str) -> None:
    """Refuse a name that a catalogue does not hold.

    Raises:
        ConfigError: Names what is allowed.
    """
    if name not in catalogue:
        raise ConfigError(f"{where}: {name!r} does not exist; allowed: {', '.join(catalogue)}")
