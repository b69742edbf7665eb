"""The digits of scikit-learn: 1,797 real handwritten digits, 8 x 8 grey, shipped with the library.

Source:
    Alpaydin, Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
"""

import functools
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from paredown.evaluators.tasks.resizing import squared
from paredown.evaluators.tasks.task import Loader, Split, SplitName, Task
from paredown.spaces.knob import Range

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}


class DigitsOptions(BaseModel):
    """What a study file may say.

    Attributes:
        seed: Random seed of the stratified split.
    """

    model_config = ConfigDict(extra="forbid")
    seed: int = 0


def _load(options: DigitsOptions, folder: Path) -> Task:
    del folder
    return Task(
        name="digits",
        classes=tuple("0123456789"),
        channels=1,
        resolutions=Range(8, 32, 4),
        load=functools.partial(_split, seed=options.seed),
        digest=f"digits-{options.seed}",
    )


def _split(name: SplitName, resolution: int, *, seed: int) -> Split:
    bunch = load_digits()
    train, rest = train_test_split(
        np.arange(len(bunch.target)), train_size=SHARES["train"], stratify=bunch.target, random_state=seed
    )
    validation, test = train_test_split(
        rest,
        train_size=SHARES["validation"] / (1 - SHARES["train"]),
        stratify=bunch.target[rest],
        random_state=seed,
    )
    rows = {"train": train, "validation": validation, "test": test}[name]
    grey = np.round(bunch.images[rows] * (255 / 16)).astype(np.uint8)
    images = np.stack([squared(Image.fromarray(image), resolution, "L") for image in grey])
    return Split(images, bunch.target[rows].astype(np.int64))


DIGITS = Loader("digits", DigitsOptions, "", _load)
