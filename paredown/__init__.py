"""AutoML search for small, fast neural networks: architecture and compression in one joint space.

A search, and the front of what it found::

    import paredown

    study = paredown.run_study("my-study.yaml", trials=40)
    study.front().to_pandas()

Everything is imported when it is first used, so that `import paredown` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paredown.search.api.client import Client
    from paredown.search.api.compression import compress
    from paredown.search.api.front import Front
    from paredown.search.api.prediction import predict
    from paredown.search.api.run import run_study
    from paredown.search.api.study import Study, open_study
    from paredown.search.api.task import Task
    from paredown.search.study_file.schema import StudyConfig
    from paredown.spaces.errors import ParedownError

_HOMES = {
    "Client": "paredown.search.api.client",
    "Front": "paredown.search.api.front",
    "ParedownError": "paredown.spaces.errors",
    "Study": "paredown.search.api.study",
    "StudyConfig": "paredown.search.study_file.schema",
    "Task": "paredown.search.api.task",
    "compress": "paredown.search.api.compression",
    "open_study": "paredown.search.api.study",
    "predict": "paredown.search.api.prediction",
    "run_study": "paredown.search.api.run",
}
"""Public name to the module that holds it."""

__all__ = [
    "Client",
    "Front",
    "ParedownError",
    "Study",
    "StudyConfig",
    "Task",
    "compress",
    "open_study",
    "predict",
    "run_study",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("paredown")
    if name not in _HOMES:
        raise AttributeError(f"module 'paredown' has no attribute {name!r}")
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
