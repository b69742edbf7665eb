"""Run an exported model folder on images; needs neither PyTorch nor the study."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

from paredown.evaluators.errors import TaskError
from paredown.evaluators.tasks.resizing import squared
from paredown.studies.errors import StudyError


def predict_images(folder: Path, files: list[Path], top: int = 3) -> list[dict[str, Any]]:
    """Return for each image its likeliest classes with their probabilities.

    Raises:
        StudyError: The folder is no exported model, or a file was changed since the export.
        TaskError: A file is no image that can be read.
    """
    manifest = _manifest(folder)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    preprocessing = manifest["preprocessing"]
    mean = np.array(preprocessing["mean"], dtype=np.float32).reshape(-1, 1, 1)
    std = np.array(preprocessing["std"], dtype=np.float32).reshape(-1, 1, 1)
    results = []
    for file in files:
        try:
            with Image.open(file) as image:
                pixels = squared(image, preprocessing["resolution"], preprocessing["mode"])
        except OSError as error:
            raise TaskError(f"{file}: no image that can be read ({error})") from error
        inputs = (pixels.astype(np.float32) / np.float32(255) - mean) / std
        scores = session.run(None, {session.get_inputs()[0].name: inputs[None]})[0][0].astype(np.float64)
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        likeliest = np.argsort(-shares)[:top]
        classes = [{"class": manifest["classes"][i], "probability": float(shares[i])} for i in likeliest]
        results.append({"image": str(file), "class": classes[0]["class"], "top": classes})
    return results


def _manifest(folder: Path) -> dict[str, Any]:
    file = folder / "manifest.json"
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
