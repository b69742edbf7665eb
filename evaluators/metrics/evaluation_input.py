"""What an evaluator looks at, and what an evaluator is.

This file and the metrics beside it load neither PyTorch nor ONNX Runtime before something is measured: whoever only
shows what a study holds needs the metrics, but not these.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.litert.target import NO_DEVICE, NPU, McuTarget
from paredown.evaluators.metrics.measurement import Measurement, Metric

if TYPE_CHECKING:
    from torch import nn

    from paredown.evaluators.devices.profile import DeviceProfile
    from paredown.evaluators.tasks.normalisation import Inputs
    from paredown.spaces.families.family import ImageShape


@dataclass(frozen=True)
class Baseline:
    """The finished reference network that others are compared with.

    Attributes:
        file: Its exported model, beside its other files.
        shape: Channels, height, width of its input.
        latency_ms: Its median latency, measured once.
    """

    file: Path
    shape: "ImageShape"
    latency_ms: float

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.file.parent


@dataclass(frozen=True)
class EvaluationInput:
    """A candidate made real.

    Attributes:
        model: The PyTorch network after all structural steps.
        shape: Channels, height, width of one input.
        file: The exported ONNX model; None before export.
        packed: The same as a packed file; None before export.
        images: Normalised validation inputs, `n x c x h x w`.
        labels: Their classes, `n`.
        baseline: What latency is compared with; None for the baseline itself.
        threads: Threads that execute the file; see `Device.threads`.
        target: Device for which models are searched; None where the study names none.
        batch_size: Images of one run, where latency is measured; see `Device.batch_size`.
        left_out: Names of metrics that are measured elsewhere.
        exact: Whether the device of the files adds 8-bit products exactly; see `Device.is_exact`.
    """

    model: "nn.Module"
    shape: "ImageShape"
    file: Path | None = None
    packed: Path | None = None
    images: "Inputs | None" = None
    labels: NDArray[np.int64] | None = None
    baseline: Baseline | None = None
    threads: int = 1
    target: "DeviceProfile | None" = None
    batch_size: int = 1
    left_out: tuple[str, ...] = ()
    exact: bool = False

    @property
    def mcu(self) -> McuTarget:
        """What a file for the device's microcontroller depends on."""
        if self.target is None:
            return NO_DEVICE
        code = int(self.target.engine_flash_bytes)
        return McuTarget(self.target.weight_granularity, code, self.target.npu or NPU)

    @property
    def has_exits(self) -> bool:
        """Whether the network has exits before its end."""
        from paredown.spaces.exits.network import MultiExit

        return isinstance(self.model, MultiExit)


@dataclass(frozen=True)
class Evaluator:
    """A metric and the way to obtain it.

    Attributes:
        metric: What it yields.
        needs: The network alone, the exported file, or the file and the validation images.
        evaluate: Returns the measurement.
        applies: Whether the metric says anything about a candidate; where it does not, it is measured only if it
            is an objective or a limit.
        refuses: Whether it raises InfeasibleCandidate where a candidate cannot have the metric, so that the candidate
            is tried before training.
        require: Raises ExtraMissing where what the evaluator runs is not installed.
    """

    metric: Metric
    needs: Literal["model", "file", "data"]
    evaluate: Callable[[EvaluationInput], Measurement]
    applies: Callable[[EvaluationInput], bool] = lambda inputs: True
    refuses: bool = False
    require: Callable[[], None] = lambda: None
