"""Makes the sampler that a study file names: one of the catalogue, or the user's own."""

from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection

from paredown.evaluators.metrics.measurement import Metric
from paredown.search.errors import ConfigError
from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.samplers.polish import PolishedSampler
from paredown.search.samplers.sampler import MakeSampler, Problem
from paredown.spaces.importing import ImportRefused, import_callable

ALLOWED = (
    f"allowed: {', '.join(SAMPLERS)}, or package.module:name of a function that takes a Problem and returns an "
    "Optuna sampler, or of a sampler class that needs no arguments"
)


def choose_sampler(
    name: str, problem: Problem, metrics: Sequence[Metric], where: str, folder: Path, local_search_trials: int = 0
) -> BaseSampler:
    """Return a sampler for a problem.

    A user's sampler is made twice: the first instance proposes for a throw-away study of the same objectives and knobs,
    so that errors show before anything is trained.

    Args:
        name: Name in the catalogue, or `package.module:name`.
        problem: The problem that the sampler is made for.
        metrics: The objectives.
        where: How messages name the study file.
        folder: Folder of the study file; modules in it can be imported.
        local_search_trials: Number of trials at the end of the study that local search proposes.

    Raises:
        ConfigError: The sampler does not exist, cannot be made, or does not support the study's objectives; the
            message says what is allowed.
    """
    prefix = f"{where}: sampler: "
    make = SAMPLERS.get(name)
    if make is None:
        if ":" not in name:
            raise ConfigError(f"{prefix}{name!r} does not exist; {ALLOWED}")
        make = _makes(name, folder, prefix)
        _try_out(make(problem), name, problem, metrics, prefix)
    sampler = make(problem)
    return PolishedSampler(sampler, problem, local_search_trials) if local_search_trials else sampler


def _makes(name: str, folder: Path, prefix: str) -> MakeSampler:
    try:
        found = import_callable(name, folder, "function or class")
    except ImportRefused as error:
        raise ConfigError(f"{prefix}{error}; {ALLOWED}") from error
    is_class = isinstance(found, type) and issubclass(found, BaseSampler)

    def make(problem: Problem) -> BaseSampler:
        try:
            sampler = found() if is_class else found(problem)
        except Exception as error:  # the user's code may raise anything; the user can fix it
            raise ConfigError(f"{prefix}{name} cannot be made: {type(error).__name__}: {error}; {ALLOWED}") from error
        if not isinstance(sampler, BaseSampler):
            raise ConfigError(
                f"{prefix}{name} returned {type(sampler).__name__}, which is no Optuna sampler; {ALLOWED}"
            )
        return sampler

    return make


def _try_out(sampler: BaseSampler, name: str, problem: Problem, metrics: Sequence[Metric], prefix: str) -> None:
    storage = InMemoryStorage()
    directions = [StudyDirection.MAXIMIZE if m.higher_is_better else StudyDirection.MINIMIZE for m in metrics]
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # Optuna announces every new study
    try:
        storage.create_new_study(directions, "tried")
    finally:
        optuna.logging.set_verbosity(level)
    study = optuna.load_study(study_name="tried", storage=storage, sampler=sampler)
    try:
        for value in (0.5, 0.25):
            trial = study.ask(dict(problem.distributions))
            study.tell(trial, [value] * len(metrics))
    except Exception as error:  # samplers refuse with errors of many kinds
        objectives = f"{len(metrics)} objectives ({', '.join(m.name for m in metrics)})"
        raise ConfigError(
            f"{prefix}{name} does not support a study of {objectives}: {type(error).__name__}: {error}; allowed: "
            f"{', '.join(SAMPLERS)}, or a sampler that supports {len(metrics)} objectives"
        ) from error
