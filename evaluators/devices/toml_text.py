"""Values of a device file as TOML, and how such a file is written."""

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel


def toml_value(value: Any) -> str:
    """Return a value in one line: a text, a number, a boolean, an array, or a table; what is None is left out."""
    if isinstance(value, BaseModel):
        value = dict(value)
    if isinstance(value, Mapping):
        parts = [f"{toml_key(key)} = {toml_value(part)}" for key, part in value.items() if part is not None]
        return f"{{ {', '.join(parts)} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    # As JSON but for two: TOML knows no halves of a character, and wants the delete character escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_key(key: str) -> str:
    """Return a key, between quotation marks where it needs them."""
    is_bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if is_bare else toml_value(key)


def toml_lines(keys: Iterable[tuple[str, Any]]) -> list[str]:
    """Return keys and their values, a line each."""
    return [f"{toml_key(key)} = {toml_value(value)}" for key, value in keys]


def replace_text(file: Path, text: str) -> None:
    """Write a file atomically: a process that is killed leaves the old file or the new one. Links are followed."""
    target = file.resolve()
    with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as stage:
        fresh = Path(stage, target.name)
        fresh.write_text(text, encoding="utf-8")
        os.replace(fresh, target)
