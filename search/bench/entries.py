"""Entrants of a race: samplers of the catalogue, outside tools, and the user's own by import path."""

import importlib
import importlib.util

from paredown.search.bench.competitors.catalogue import COMPETITORS
from paredown.search.errors import ConfigError
from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.samplers.sampler import MakeSampler

ALL = "all"
"""Name that stands for every sampler of the catalogue."""


def entries(text: str) -> list[str]:
    """Return the samplers in a comma-separated list such as `tpe,nsga2`, each once.

    Raises:
        ConfigError: One of them does not exist or is not installed.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ConfigError(f"--samplers: names none; allowed: {_allowed()}")
    wanted = [one for name in names for one in (list(SAMPLERS) if name == ALL else [name])]
    for name in wanted:
        sampler_named(name)
    return list(dict.fromkeys(wanted))


def sampler_named(name: str) -> MakeSampler:
    """Return the function that makes a sampler.

    Args:
        name: Name in the catalogue of samplers or in that of outside tools, or `package.module:name` of a function that
            takes a `Problem`.

    Raises:
        ConfigError: There is no such sampler, or its tool is not installed.
    """
    if name in SAMPLERS:
        return SAMPLERS[name]
    if name in COMPETITORS:
        competitor = COMPETITORS[name]
        for module in competitor.needs:
            if importlib.util.find_spec(module) is None:
                raise ConfigError(f"--samplers: {name} needs {module}: {competitor.install}")
        return competitor.make
    if ":" in name:
        return _imported(name)
    raise ConfigError(f"--samplers: {name!r} does not exist; allowed: {_allowed()}")


def _allowed() -> str:
    return ", ".join([ALL, *SAMPLERS, *COMPETITORS, "package.module:function"])


def _imported(path: str) -> MakeSampler:
    module, _, attribute = path.partition(":")
    try:
        make = getattr(importlib.import_module(module), attribute)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"--samplers: {path}: {module!r} cannot be imported: {error}") from error
    except AttributeError as error:
        raise ConfigError(f"--samplers: {path}: {module} has no {attribute!r}") from error
    if not callable(make):
        raise ConfigError(f"--samplers: {path}: is no function of a Problem")
    chosen: MakeSampler = make
    return chosen
