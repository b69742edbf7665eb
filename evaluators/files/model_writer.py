"""Writes a candidate's network to its file: it exports the network, lets the steps rewrite it, and packs it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from paredown.evaluators.device import Device
from paredown.evaluators.files.exit_file import export_stages, stitched
from paredown.evaluators.files.onnx_model import export, slimmed
from paredown.evaluators.files.onnx_session import logits, open_session
from paredown.evaluators.packing.container import ship
from paredown.evaluators.tasks.images import Images
from paredown.evaluators.tasks.task import Task
from paredown.evaluators.training.data import TrainingData
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.compression.step import CALIBRATION_IMAGES, Part, RewriteContext
from paredown.spaces.exits.network import MultiExit
from paredown.spaces.exits.rules import ExitRule
from paredown.spaces.families.family import ImageShape, longer_side
from paredown.spaces.knob import Knobs

Labelled = tuple[NDArray[np.float32], NDArray[np.int64]]
NUMBERED_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""Layers among which a stage's `Part` is counted."""


Skipped = Mapping[str, Mapping[str, str]]
"""Layers that each step left unchanged, with the reason, by step."""


@dataclass(frozen=True)
class WrittenModel:
    """A model on disk.

    Attributes:
        file: The ONNX model; the packed file lies beside it.
        skipped: Layers that each step left unchanged, with the reason.
        stages: ONNX model of each stage of a network with exits; empty for other networks.
    """

    file: Path
    skipped: Skipped
    stages: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class ModelWriter:
    """Writes the files of one candidate.

    Attributes:
        candidate: The candidate, which names the steps that rewrite.
        task: The task, whose training images calibrate.
        shape: Channels, height, width of one input.
        device: The device that the files are made for.
    """

    candidate: Candidate
    task: Task
    shape: ImageShape
    device: Device

    def write(self, model: nn.Module, file: Path, trained: bool = True) -> WrittenModel:
        """Write the ONNX model of a network and the packed file beside it.

        The steps rewrite each stage of a network with exits by itself.
        """
        if not isinstance(model, MultiExit):
            onnx, skipped = self._rewritten(export(model, self.shape), self._images, trained)
            return WrittenModel(ship(slimmed(onnx), file), skipped)
        wanted = (
            [STEPS[name].file_needs.calibration_images(knobs) for name, knobs in self._rewriting()] if trained else []
        )
        images, labels = self._images(max(wanted, default=CALIBRATION_IMAGES))
        parts, skipped = _parts(model), {name: {} for name, _ in self._rewriting()}

        def rewrite(stage: bytes, inputs: NDArray[np.float32]) -> bytes:
            onnx, left = self._rewritten(stage, lambda count: _spread(inputs, labels, count), trained, next(parts))
            for name, layers in left.items():
                skipped[name] |= layers
            return onnx

        stages = tuple(export_stages(model, self.shape, images, rewrite))
        self.write_stages(stages, model.rule, file)
        return WrittenModel(file, {name: layers for name, layers in skipped.items() if layers}, stages)

    def write_stages(self, stages: Sequence[bytes], rule: ExitRule, file: Path) -> None:
        """Write the stages of a network with exits as one model that leaves by a rule."""
        ship(stitched(list(stages), rule, len(self.task.classes)), file)

    def _images(self, count: int) -> Labelled:
        data = TrainingData.of(self.task, longer_side(self.shape))
        images, labels = _spread(data.train.images, data.train.labels, count)
        return data.normalise(images), labels

    def _run(self, model: bytes, images: NDArray[np.float32]) -> NDArray[np.float32]:
        return logits(open_session(model, self.device.threads, exact=self.device.is_exact), images)

    def _rewriting(self) -> Iterator[tuple[str, Knobs]]:
        for name in [n for n in STEPS if n in self.candidate.steps]:
            if STEPS[name].rewrite is not None:
                yield name, self.candidate.steps[name]

    def _rewritten(
        self, model: bytes, images_of: Callable[[int], Labelled], trained: bool, part: Part | None = None
    ) -> tuple[bytes, dict[str, dict[str, str]]]:
        skipped = {}
        for name, knobs in self._rewriting():
            rewrite = STEPS[name].rewrite
            assert rewrite is not None, "only those are named"
            images, labels = images_of(
                STEPS[name].file_needs.calibration_images(knobs) if trained else CALIBRATION_IMAGES
            )
            calibration = RewriteContext(
                images,
                labels,
                trained=trained,
                part=part,
                target=self.device.target,
                run=self._run,
                excluded=self.candidate.skip,
            )
            model = rewrite(model, knobs, calibration)
            if calibration.skipped:
                stage = "" if part is None else f"stage {part.index}: "
                layers = {f"{stage}{layer}": reason for layer, reason in calibration.skipped.items()}
                skipped[name] = layers
        return model, skipped


def _spread(images: Images, labels: NDArray[np.int64], count: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return `count` rows, spread evenly over the data: an image folder is sorted by class."""
    every = max(1, len(images) // count)
    rows = slice(0, every * count, every)
    return images[rows], labels[rows]


def _parts(model: MultiExit) -> Iterator[Part]:
    """Return the place of each stage with its exit among the layers of the whole network, in the order they run."""
    counts = [sum(isinstance(m, NUMBERED_LAYERS) for m in model.part(i).modules()) for i in range(len(model.stages))]
    yield from (Part(i, sum(counts[:i]), sum(counts)) for i in range(len(counts)))
