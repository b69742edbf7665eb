"""What a compression step is."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from paredown.spaces.compression.step_label import StepLabel
from paredown.spaces.compression.target import Target
from paredown.spaces.compression.tolerance import FLOAT32, Tolerance
from paredown.spaces.errors import SpaceError
from paredown.spaces.knob import Knob, Knobs, Value

CALIBRATION_IMAGES = 64
"""So many training inputs a rewrite is shown, unless it asks for more."""


@dataclass
class TransformContext:
    """What a transform may look at, and where it says what it did.

    Attributes:
        example: One input, `1 x c x h x w`.
        images: Some training inputs, normalised, `n x c x h x w`; None before training.
        labels: Their classes, `n`; None before training.
        decided: What the step chose by weights or images, as JSON, so that a network of the same shapes can be
            built again. Where it is not empty, the step does the same again instead of choosing.
        skipped: Layer to the reason why the step leaves it alone.
        values: Whether the weights that come out matter; where only their shapes do, a step may leave them at zero.
        owned: Whether a step may change the network itself, which nobody else needs, instead of a copy.
        known: Whether the network is of a family of this package, whose channels the graph follows and whose layers
            no other module reads: what is checked in networks of users need not be.
        excluded: Names of layers that the user excludes from every step, with `*`, `?` and `[...]`.
        pinned: The same of layers whose shape the user wants to stay; their weights may be rounded or become zero.
    """

    example: Tensor
    images: Tensor | None = None
    labels: Tensor | None = None
    decided: dict[str, Any] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    values: bool = True
    owned: bool = False
    known: bool = False
    excluded: Sequence[str] = ()
    pinned: Sequence[str] = ()


Material = TransformContext
"""The earlier name, for scripts that were written with it."""


@dataclass(frozen=True)
class Part:
    """Where a stage of a network with exits stands in it.

    Attributes:
        index: Index of the stage, from 0.
        before: Layers with weights that run before its own.
        layers: How many the whole network has.
    """

    index: int
    before: int
    layers: int


RunModel = Callable[[bytes, NDArray[np.float32]], NDArray[np.float32]]
"""(ONNX model, inputs `n x c x h x w`) -> its logits, `n x classes`."""


@dataclass
class RewriteContext:
    """Training inputs that a rewrite may look at, and where it says what it left alone.

    Attributes:
        images: Normalised, `n x c x h x w`.
        labels: Their classes, `n`.
        skipped: Layer to the reason why the step leaves it alone.
        trained: Whether the network is; before, only bytes and speed of the file are of interest.
        part: Where the model stands in a network with exits; None where it is the whole one.
        target: The device that the file is made for.
        run: Executes a model, for a rewrite that compares what it wrote; None where nothing can.
        excluded: Names of layers that the user excludes from every step, with `*`, `?` and `[...]`.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    skipped: dict[str, str] = field(default_factory=dict)
    trained: bool = True
    part: Part | None = None
    target: Target = field(default_factory=Target)
    run: RunModel | None = None
    excluded: Sequence[str] = ()


@dataclass(frozen=True)
class Hold:
    """What keeps a property of the weights through fine-tuning, such as zeros or a grid.

    Attributes:
        after_step: Called after each step of the optimizer with the share of fine-tuning that is done, up to 1;
            a call with 1 must leave the property whole, whatever came before.
        settled: The share of fine-tuning from which on the network is what it will be; earlier epochs do not
            count as its best.
        skipped: Layer to the reason why nothing of it is held.
        state: Returns what it has come to besides the weights, as tensors, numbers and lists of them, so that
            fine-tuning can go on after an interruption. What follows from the network that it began with is no part.
        load_state: Takes over what `state` returned.
    """

    after_step: Callable[[float], None]
    settled: float = 0.0
    skipped: Mapping[str, str] = field(default_factory=dict)
    state: Callable[[], dict[str, Any]] = dict
    load_state: Callable[[Mapping[str, Any]], None] = lambda state: None


Transform = Callable[[nn.Module, Knobs, TransformContext], nn.Module]
"""(network, knobs, material) -> new network; the given one is not touched."""

Attach = Callable[[nn.Module, Knobs, TransformContext], nn.Module]
"""(untrained network, knobs, material without images) -> what is trained in its place; the given one is not touched."""


class Finetuning(Protocol):
    """Opens the context in which a network is fine-tuned; on leaving it, only weights have changed."""

    def __call__(
        self, network: nn.Module, knobs: Knobs, target: Target, excluded: Sequence[str] = ()
    ) -> AbstractContextManager[Hold]:
        """Return the context; layers whose names match a pattern of `excluded` are left alone."""


class Proximal(Protocol):
    """A penalty's proximal operator, in place, after each step of training."""

    def __call__(self, network: nn.Module, knobs: Knobs, learning_rate: float, excluded: Sequence[str] = ()) -> None:
        """Shrink the weights; layers whose names match a pattern of `excluded` are left alone."""


@dataclass(frozen=True)
class TeacherLoss:
    """What a step learns from a teacher.

    Attributes:
        combine: From the task's loss, the logits `n x classes`, the teacher's logits `n x classes` and the knobs to the
            scalar loss that training minimises.
        hint_weight: From the knobs to the weight of matching the teacher's features; 0 where they are not needed.
    """

    combine: Callable[[Tensor, Tensor, Tensor, Knobs], Tensor]
    hint_weight: Callable[[Knobs], float] = lambda knobs: 0.0


@dataclass(frozen=True)
class FileNeeds:
    """What a step that rewrites the file needs, and what it may cost.

    Attributes:
        calibration_images: From the knobs to the number of inputs that the rewrite looks at.
        tolerance: From the knobs to how far the rewritten file may stray from the network.
    """

    calibration_images: Callable[[Knobs], int] = lambda knobs: CALIBRATION_IMAGES
    tolerance: Callable[[Knobs], Tolerance] = lambda knobs: FLOAT32


Rewrite = Callable[[bytes, Knobs, RewriteContext], bytes]
"""(ONNX model, knobs, calibration) -> new ONNX model."""


Settle = Callable[[Mapping[str, Knob], Knobs], Knobs]
"""(the step's knobs as a study has them, a value for each) -> such values, of which all go together."""


@dataclass(frozen=True)
class Step:
    """A compression method: its knobs and what it does, in any of six places.

    Attributes:
        name: Prefix of its knobs.
        short: Its name in tables, before the value of its switch.
        knobs: Its knobs, without prefix.
        switch: The knob that turns it off.
        off: The value of `switch` at which the step does nothing.
        source: Paper and section.
        details: Further knobs whose values tables show, where they are not 0.
        settle: Replaces values that do not go together; asked only where the step is on, which it must leave so.
        attach: Changes the untrained network, before anything else.
        transform: Changes the trained network; fine-tuning follows.
        finetuning: Holds something through fine-tuning.
        proximal: Minimises a penalty on the weights, such as L1, after each step of training.
        teacher_loss: Changes what training minimises by what a teacher says.
        rewrite: Changes the exported file.
        shapes_known: Whether the costs of the untrained network are those of the trained one: the shapes that the
            transform gives follow from the knobs alone, and so does what an image passes through; a function of the
            knobs where some of them say so.
        finetunes: From the knobs to whether `finetuning` has anything to hold.
        file_needs: What `rewrite` looks at, and how far its file may stray from the network.
    """

    name: str
    short: str
    knobs: Mapping[str, Knob]
    switch: str
    off: Value
    source: str
    details: tuple[str, ...] = ()
    settle: Settle = lambda knobs, values: values
    attach: Attach | None = None
    transform: Transform | None = None
    finetuning: Finetuning | None = None
    proximal: Proximal | None = None
    teacher_loss: TeacherLoss | None = None
    rewrite: Rewrite | None = None
    shapes_known: bool | Callable[[Knobs], bool] = True
    finetunes: Callable[[Knobs], bool] = lambda knobs: True
    file_needs: FileNeeds = FileNeeds()

    @property
    def table_label(self) -> StepLabel:
        """How tables call the step."""
        return StepLabel(self.short, self.switch, self.details)

    @property
    def only_teaches(self) -> bool:
        """Whether the step changes what training minimises and nothing of the network or its file."""
        others = (self.attach, self.transform, self.finetuning, self.proximal, self.rewrite)
        return self.teacher_loss is not None and not any(others)

    def knows_shapes(self, knobs: Knobs) -> bool:
        """Return whether the shapes that the transform gives under these knobs follow from the knobs alone."""
        return self.shapes_known if isinstance(self.shapes_known, bool) else self.shapes_known(knobs)

    def check(self, knobs: Knobs) -> None:
        """Refuse knobs that the step does not have and values outside of theirs.

        Numbers between the steps of a range are taken: the steps are what a search tries.

        Raises:
            SpaceError: Names the knob, the value and what is allowed.
        """
        for name, value in knobs.items():
            if (knob := self.knobs.get(name)) is None:
                raise SpaceError(f"{self.name}.{name}: no such knob; allowed: {', '.join(self.knobs)}")
            if not knob.takes(value):
                raise SpaceError(f"{self.name}.{name}: {value!r} is not allowed; allowed: {knob.taken}")
