"""A small space of mbconv whose supernet trains in a second, and a study file of it."""

from pathlib import Path
from typing import Any

from paredown.search.study_file.schema import StudyConfig
from paredown.search.study_file.setup import Setup, set_up

KNOBS = {
    "mbconv.scaling": "free",
    "mbconv.depth": {"low": 1.0, "high": 1.5},
    "mbconv.width": {"low": 0.5, "high": 0.75},
    "mbconv.resolution": 8,
    "mbconv.kernel": [3, 5],
    "mbconv.expansion": [2, 4],
    "mbconv.activation": "relu",
}


def study(folder: Path, steps: list[str] | None = None, halving: Any = None, **training: Any) -> Setup:
    """Return a set-up study that inherits, unless told otherwise."""
    config = StudyConfig.model_validate(
        {
            "study": "shared",
            "task": "digits",
            "objectives": ["accuracy", "size_bytes"],
            "space": {"knobs": KNOBS, "steps": steps or []},
            "training": {
                "mode": "inherit",
                "epochs": 2,
                "supernet_epochs": 2,
                "inherit_epochs": 1,
                "finetune_epochs": 1,
                "learning_rate": 6e-3,
                **training,
            },
            "sampler": "random",
            "trials": 3,
            "workers": 1,
            "halving": halving,
        }
    )
    return set_up(config, "test", folder, folder / "out")
