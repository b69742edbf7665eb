"""Where the data sets of the service lie: `OUT/OWNER/.datasets/NAME`; a study's folder never begins with a dot.

A data set is there as soon as the file that describes it is: what a killed server left unfinished is none.
"""

import re
from pathlib import Path

from paredown.search.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
PREFIX = "dataset:"
"""What a study writes before the name of a data set, in place of a path."""
DOCUMENT_FILE = "dataset.json"


def datasets_folder(out: Path, owner: str) -> Path:
    """Return the folder of an owner's data sets."""
    return out / owner / ".datasets"


def images_folder(dataset: Path) -> Path:
    """Return the folder with `train` and `val` of a data set."""
    return dataset / "images"


def thumbnail_file(dataset: Path, label: int, number: int) -> Path:
    """Return the file of a thumbnail, by the number of its class and its own."""
    return dataset / "thumbnails" / f"{label}-{number}.png"


def dataset_names(folder: Path) -> list[str]:
    """Return the names of the data sets in an owner's folder."""
    return sorted(file.parent.name for file in folder.glob(f"*/{DOCUMENT_FILE}"))


def named_images(text: str, folder: Path, where: str) -> Path:
    """Return the folder of images that a study means by `dataset:NAME`.

    Raises:
        ConfigError: The owner has no data set of that name.
    """
    name = text.removeprefix(PREFIX)
    names = dataset_names(folder)
    if name not in names:
        allowed = ", ".join(names) or "none; upload one first"
        raise ConfigError(f"{where}: no data set {name!r}; allowed: {allowed}")
    return images_folder(folder / name).resolve()
