"""Import of a user's functions and classes, which a study file names as `package.module:function`."""

import importlib
import sys
from pathlib import Path
from typing import Any

from paredown.spaces.errors import ParedownError


class ImportRefused(ParedownError):
    """What a name in a study file stands for cannot be imported."""


def import_callable(path: str, folder: Path, kind: str) -> Any:
    """Return the function or class that a path names.

    Args:
        path: `package.module:function` or `package.module:class`.
        folder: Folder of the study file; it is searched before all others.
        kind: What messages call the function or class.

    Raises:
        ImportRefused: The path has another form, the module cannot be imported, or it holds no such function.
    """
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise ImportRefused(f"{path!r} is not of the form package.module:function")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module raises is the user's to mend
        said = str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        raise ImportRefused(f"cannot import {module_name!r} from {folder}: {said}") from error
    if not callable(found := getattr(module, name, None)):
        raise ImportRefused(f"{module_name} has no {kind} {name!r}")
    return found
