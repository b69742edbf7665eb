"""Makes and opens Optuna's study, without Optuna's log messages."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence

import optuna
from optuna.storages import RDBStorage

from paredown.evaluators.metrics.measurement import Metric


def create(storage: RDBStorage, name: str, metrics: Sequence[Metric]) -> optuna.Study:
    """Open Optuna's study, or make it; its objectives are named for Optuna's dashboard."""
    with _quiet():
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            directions=["maximize" if m.higher_is_better else "minimize" for m in metrics],
            load_if_exists=True,
        )
        study.set_metric_names([m.name for m in metrics])
        return study


def load(storage: RDBStorage, name: str) -> optuna.Study:
    """Open Optuna's study.

    Raises:
        KeyError: There is no study of that name.
    """
    with _quiet():
        return optuna.load_study(storage=storage, study_name=name)


def importances(study: optuna.Study, metrics: Sequence[Metric], metric: str) -> dict[str, float]:
    """Return the share of each knob in the variance of a metric, largest first.

    Source:
        Watanabe, Bansal, Hutter, PED-ANOVA, IJCAI 2023.
    """
    index = [m.name for m in metrics].index(metric)
    with _quiet(), warnings.catch_warnings():
        # It warns that it looks at low values, which are the good ones of a loss.
        warnings.simplefilter("ignore", UserWarning)
        return optuna.importance.get_param_importances(
            study, target=lambda trial: metrics[index].loss(trial.values[index])
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Optuna's log messages, which our display replaces, and its warning of experimental metric names."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
