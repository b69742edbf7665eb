"""Run an exported model folder on images; needs neither PyTorch nor the study."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from paredown.evaluators.errors import TaskError
from paredown.evaluators.files.exit_runtime import BatchRuntime, ExitPlan
from paredown.evaluators.files.names import MANIFEST_FILE, MODEL_FILE
from paredown.evaluators.files.onnx_session import open_session
from paredown.evaluators.tasks.resizing import squared
from paredown.studies.errors import StudyError


def predict_images(folder: Path, files: list[Path], top: int = 3) -> list[dict[str, Any]]:
    """Return for each image its likeliest classes with their probabilities.

    Several images go through a model with exits as a batch, stage by stage.

    Raises:
        StudyError: The folder is no exported model, or a file was changed since the export.
        TaskError: A file is no image that can be read.
    """
    manifest = _manifest(folder)
    preprocessing = manifest["preprocessing"]
    mean = np.array(preprocessing["mean"], dtype=np.float32).reshape(-1, 1, 1)
    std = np.array(preprocessing["std"], dtype=np.float32).reshape(-1, 1, 1)
    inputs = []
    for file in files:
        try:
            with Image.open(file) as image:
                pixels = squared(image, preprocessing["resolution"], preprocessing["mode"])
        except OSError as error:
            raise TaskError(f"{file}: no image that can be read ({error})") from error
        inputs.append((pixels.astype(np.float32) / np.float32(255) - mean) / std)
    results = []
    for file, scores in zip(files, _scores(folder / MODEL_FILE, inputs), strict=True):
        shares = np.exp(scores.astype(np.float64) - scores.max())
        shares /= shares.sum()
        likeliest = np.argsort(-shares)[:top]
        classes = [{"class": manifest["classes"][i], "probability": float(shares[i])} for i in likeliest]
        results.append({"image": str(file), "class": classes[0]["class"], "top": classes})
    return results


def _scores(model: Path, images: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Return the logits of each image, `classes`."""
    session = open_session(model)
    if len(images) > 1 and ExitPlan.of(session) is not None:
        return list(BatchRuntime(model).run(np.stack(images).astype(np.float32)).logits)
    name = session.get_inputs()[0].name
    return [session.run(None, {name: image[None].astype(np.float32)})[0][0] for image in images]


def _manifest(folder: Path) -> dict[str, Any]:
    file = folder / MANIFEST_FILE
    try:
        manifest: dict[str, Any] = json.loads(file.read_text())
        digests = manifest["files"].items()
    except FileNotFoundError:
        raise StudyError(
            f"{folder}: no exported model: there is no manifest.json; `paredown export` makes one"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise StudyError(f"{file}: cannot be read as a manifest: {error}") from error
    for name, digest in digests:
        content = (folder / name).read_bytes() if (folder / name).is_file() else b""
        if hashlib.sha256(content).hexdigest() != digest:
            raise StudyError(f"{folder / name}: missing or changed since the export; export the model again")
    return manifest
