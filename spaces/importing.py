"""What a user wrote in Python, named in a study file as `package.module:function`."""

import importlib
import sys
from pathlib import Path
from typing import Any

from paredown.spaces.errors import ParedownError


class ImportRefused(ParedownError):
    """A name in a study file leads to nothing that can be imported."""


def import_callable(path: str, folder: Path, kind: str) -> Any:
    """Return the function or class that a path names; the study file's folder is searched before all others.

    Args:
        path: `package.module:function`, or of a class.
        folder: Of the study file.
        kind: What messages call it.

    Raises:
        ImportRefused: The path is not of that form, the module cannot be imported or holds no such function.
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
