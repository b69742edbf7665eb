"""Run an exported model folder on images; needs neither PyTorch nor the study."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from paredown.evaluators.errors import TaskError
from paredown.evaluators.files.names import MANIFEST_FILE
from paredown.evaluators.tasks.resizing import squared
from paredown.studies.errors import StudyError
from paredown.studies.exporters.catalogue import FIRST_FORMAT, exporter_named
from paredown.studies.exporters.exporter import Run


def predict_images(folder: Path, files: list[Path], top: int = 3) -> list[dict[str, Any]]:
    """Return for each image its likeliest classes with their probabilities.

    Several images go through a model with exits as a batch, stage by stage.

    Raises:
        StudyError: The folder is no exported model, a file was changed since the export, or there is no such format.
        EvaluationError: The runtime cannot load the model.
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
    if not inputs:
        return []
    results = []
    for file, scores in zip(files, _model(folder, manifest)(np.stack(inputs)), strict=True):
        shares = np.exp(scores.astype(np.float64) - scores.max())
        shares /= shares.sum()
        likeliest = np.argsort(-shares)[:top]
        classes = [{"class": manifest["classes"][i], "probability": float(shares[i])} for i in likeliest]
        results.append({"image": str(file), "class": classes[0]["class"], "top": classes})
    return results


def _model(folder: Path, manifest: dict[str, Any]) -> Run:
    """Return what runs the model of a folder, by the format that its manifest names."""
    exporter = exporter_named(str(manifest.get("exporter", FIRST_FORMAT)), f"{folder / MANIFEST_FILE}: exporter")
    name = str(manifest.get("model_file", exporter.model_file))
    if name not in manifest["files"]:
        raise StudyError(f"{folder / MANIFEST_FILE}: model_file: {name!r} is none of its files; export the model again")
    return exporter.load(folder / name)


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
