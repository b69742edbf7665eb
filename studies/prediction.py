"""Run an exported model folder on images; needs neither PyTorch nor the study."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.files.names import MANIFEST_FILE
from paredown.studies.errors import StudyError
from paredown.studies.exporters.catalogue import FIRST_FORMAT, exporter_named
from paredown.studies.model_folder.manifest import Manifest, read_manifest


def predict_images(folder: Path, files: list[Path], top: int = 3) -> list[dict[str, Any]]:
    """Return for each image its likeliest classes with their probabilities.

    Several images go through a model with exits as a batch, stage by stage. A file that ends in .npy is an array, for
    models of signals and other inputs that are no images.

    Raises:
        StudyError: The folder is no exported model, a file was changed since the export, there is no such format, or
            the model does not fit what its manifest says.
        EvaluationError: The runtime cannot load the model.
        TaskError: A file is no image that can be read, or none of the kind that the model was trained on.
    """
    manifest = read_manifest(folder)
    normalise = manifest.normalisation
    inputs = [normalise(manifest.format.read(file)[None])[0] for file in files]
    if not inputs:
        return []
    results = []
    for file, scores in zip(files, _scores(folder, manifest, np.stack(inputs)), strict=True):
        shares = np.exp(scores.astype(np.float64) - scores.max())
        shares /= shares.sum()
        likeliest = np.argsort(-shares)[:top]
        classes = [{"class": manifest.classes[i], "probability": float(shares[i])} for i in likeliest]
        results.append({"image": str(file), "class": classes[0]["class"], "top": classes})
    return results


def _scores(folder: Path, manifest: Manifest, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logits, `n x classes`, of the format's runtime.

    Raises:
        StudyError: The manifest does not list the model, or the model takes or gives something else than it says.
    """
    exporter = exporter_named(manifest.exporter or FIRST_FORMAT, f"{folder / MANIFEST_FILE}: exporter")
    name = manifest.model_file or exporter.model_file
    if name not in manifest.files:
        raise StudyError(f"{folder / MANIFEST_FILE}: model_file: {name!r} is none of its files; export the model again")
    run = exporter.load(folder / name)
    try:
        scores = run(inputs)
    except Exception as error:  # the exception classes of runtimes share no root but Exception
        said = str(error).partition("\n")[0]
        raise StudyError(f"{folder / name}: cannot be run on what its manifest says it takes: {said}") from error
    if scores.shape != (len(inputs), len(manifest.classes)):
        raise StudyError(
            f"{folder / name}: gives {scores.shape[-1]} logits, its manifest names {len(manifest.classes)} classes; "
            "export the model again"
        )
    if not np.isfinite(scores).all():
        raise StudyError(f"{folder / name}: its output is not finite")
    return scores
