"""Does an exported file do what the network in the study does? And what is it worth on images never seen?"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from paredown.evaluators.metrics.accuracy import share_correct
from paredown.evaluators.metrics.measurement import Measurement
from paredown.evaluators.tasks.images import BATCH
from paredown.evaluators.tasks.normalisation import Inputs
from paredown.evaluators.tasks.task import SplitName, normalisation_at, split_at
from paredown.evaluators.training.inference import predict
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.compression.tolerance import FLOAT32, Tolerance
from paredown.spaces.exits.network import MultiExit
from paredown.spaces.families.family import longer_side
from paredown.spaces.knob import Knobs
from paredown.studies.exporters.exporter import Exporter, ExportRequest, Run

Floats = NDArray[np.float32]


def check_parity(request: ExportRequest, exporter: Exporter, run: Run) -> dict[str, float]:
    """Compare the exported file with the network on the validation images, and return how far they agree.

    Raises:
        ExportRefused: They differ by more than the tolerance.
    """
    tolerance, knobs = _widest(request.model.candidate)
    if exporter.tolerance is not None:
        tolerance, knobs = exporter.tolerance, {}
    images, _ = _images(request, "validation")
    actual = _answers(request, run, images)
    if not np.isfinite(actual).all():
        raise request.refusal("the file's output is not finite")
    network = request.network
    expected = predict(network, images).numpy()
    if tolerance.network is not None:
        narrow = tolerance.network(network, knobs, torch.from_numpy(images[:1]))
        answers = predict(narrow, images).numpy()
        if _agreement(answers, actual) > _agreement(expected, actual):
            network, expected = narrow, answers
    error, agreement = _largest_error(network, images, expected, actual), _agreement(expected, actual)
    if tolerance.error is not None and error > tolerance.error * max(1.0, float(np.abs(expected).max())):
        raise request.refusal(
            f"the file's logits differ from the network's by up to {error:g}; "
            f"allowed for {tolerance.precision}: {tolerance.error:g} of the largest logit"
        )
    if agreement < tolerance.agreement:
        raise request.refusal(
            f"file and network agree on {agreement:.1%} of {len(images)} validation images; "
            f"needed for {tolerance.precision}: {tolerance.agreement:.1%}{tolerance.remedy}"
        )
    return {"max_abs_error": error, "label_agreement": agreement, "images": len(images)}


def accuracy_on(request: ExportRequest, run: Run, split_name: SplitName, metric: str) -> Measurement:
    """Return the accuracy of the exported file on the images of a split, under the name of a metric."""
    images, labels = _images(request, split_name)
    return share_correct(_answers(request, run, images), labels, metric)


def _widest(candidate: Candidate) -> tuple[Tolerance, Knobs]:
    """Return the tolerance of the step whose rewriting changes the answers most, with the knobs of the step."""
    given = [(STEPS[name].file_needs.tolerance(knobs), knobs) for name, knobs in candidate.steps.items()]
    return min(given, key=lambda one: one[0].agreement, default=(FLOAT32, {}))


def _images(request: ExportRequest, split_name: SplitName) -> tuple[Inputs, NDArray[np.int64]]:
    resolution = longer_side(request.shape)
    split = split_at(request.task, split_name, resolution)
    return normalisation_at(request.task, resolution).inputs(split.images), split.labels


def _answers(request: ExportRequest, run: Run, images: Inputs) -> Floats:
    """Return the logits of the file; with exits image by image, as it decides where it is deployed."""
    size = 1 if isinstance(request.network, MultiExit) else BATCH
    return np.concatenate([run(images[at : at + size]) for at in range(0, len(images), size)])


def _agreement(expected: Floats, actual: Floats) -> float:
    return float((expected.argmax(1) == actual.argmax(1)).mean())


def _largest_error(network: nn.Module, images: Inputs, expected: Floats, actual: Floats) -> float:
    """Return the largest difference of a logit.

    With exits, an image may leave the file at another exit than the network, since rounding may decide at the
    threshold: its logits are compared with those of the exit that comes nearest.
    """
    exits = list(_exits(network, images)) if isinstance(network, MultiExit) else [expected]
    errors = np.stack([np.abs(one - actual).max(1) for one in exits])
    return float(errors.min(0).max(initial=0.0))


def _exits(network: MultiExit, images: Inputs) -> Iterator[Floats]:
    """Yield the logits `n x classes` of each exit."""
    with torch.inference_mode():
        starts = range(0, len(images), BATCH)
        batches = [network.all_logits(torch.from_numpy(images[at : at + BATCH])) for at in starts]
    for parts in zip(*batches, strict=True):
        yield torch.cat(parts).numpy()
