"""The digits of scikit-learn: 1,797 real handwritten digits, 8 x 8 grey, shipped with the library.

Source:
    Alpaydin, Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
"""

import functools
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from paredown.evaluators.tasks.data_summary import DataSummary, summary_of
from paredown.evaluators.tasks.images import at_size
from paredown.evaluators.tasks.normalisation import EIGHT_BITS
from paredown.evaluators.tasks.task import SPLITS, Loader, Split, SplitName, Task
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
        summary=functools.partial(_summary, options.seed),
    )


def _summary(seed: int) -> DataSummary:
    splits = {name: _split(name, 8, seed=seed) for name in SPLITS}
    images = {name: split.images[:] for name, split in splits.items()}
    labels = {name: split.labels for name, split in splits.items()}
    return summary_of(images, labels, tuple("0123456789"), str(EIGHT_BITS))


def _split(name: SplitName, resolution: int, *, seed: int) -> Split:
    from sklearn.datasets import load_digits  # late: it takes a second to load, and other tasks go without it
    from sklearn.model_selection import train_test_split

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
    return Split(at_size(grey[:, None], resolution, resolution), bunch.target[rows].astype(np.int64))


DIGITS = Loader("digits", DigitsOptions, "", _load)
