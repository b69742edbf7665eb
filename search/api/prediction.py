"""Predictions of exported models from Python code: `predict`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paredown.studies.prediction import predict_images


def predict(model: str | Path, images: str | Path | Sequence[str | Path], *, top: int = 3) -> list[dict[str, Any]]:
    """Run an exported model on images. It needs no PyTorch.

    Args:
        model: Folder of the exported model.
        images: Path of an image file, or several.
        top: Number of the likeliest classes in each answer.

    Returns:
        For each image `{"image", "class", "top": [{"class", "probability"}]}`.

    Raises:
        StudyError: The folder is no exported model, or a file was changed since the export.
        TaskError: An image cannot be read.
    """
    given = [images] if isinstance(images, str | Path) else images
    return predict_images(Path(model), [Path(one) for one in given], top)
