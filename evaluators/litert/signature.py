"""What a TensorFlow Lite file takes and gives: shapes and grids of its input and its output."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.litert.integer_graph import Grid

ENDS = (-128, 127)


@dataclass(frozen=True)
class Signature:
    """Input and output of a file.

    Attributes:
        shape: Shape of the input, `1 x h x w x c`.
        given: Grid of the input.
        made: Grid of the output.
    """

    shape: tuple[int, ...]
    given: Grid
    made: Grid

    @classmethod
    def of(cls, model: bytes) -> "Signature":
        """Return the signature of a file with one int8 input and one int8 output.

        Raises:
            EvaluationError: It is no such file.
        """
        from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

        try:
            if not schema.Model.ModelBufferHasIdentifier(model, 0):
                raise ValueError("it has no TFL3 in its head")
            graph = schema.Model.GetRootAs(model, 0).Subgraphs(0)
            given, made = graph.Tensors(graph.Inputs(0)), graph.Tensors(graph.Outputs(0))
            if (given.Type(), made.Type()) != (schema.TensorType.INT8, schema.TensorType.INT8):
                raise ValueError("its input and output are not int8")
            return cls(tuple(given.ShapeAsNumpy().tolist()), _grid(given), _grid(made))
        except Exception as error:  # a broken file leads the generated classes anywhere
            raise EvaluationError(f"cannot load the TensorFlow Lite file: {error}") from error

    def quantised(self, images: NDArray[np.float32]) -> NDArray[np.int8]:
        """Return normalised images `n x c x h x w` as the integers that the file takes, `n x h x w x c`."""
        integers = np.rint(images.transpose(0, 2, 3, 1) / np.float32(self.given.scale)) + self.given.zero_point
        return np.ascontiguousarray(integers.clip(*ENDS).astype(np.int8))

    def logits(self, integers: NDArray[np.int8]) -> NDArray[np.float32]:
        """Return the real values of outputs `n x classes`."""
        return (integers.astype(np.float32) - self.made.zero_point) * np.float32(self.made.scale)


def has_channel_scales(model: bytes) -> bool:
    """Return whether a tensor of a file has more than one scale, as weights with one for each channel have."""
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

    graph = schema.Model.GetRootAs(model, 0).Subgraphs(0)
    grids = [graph.Tensors(number).Quantization() for number in range(graph.TensorsLength())]
    return any(grid is not None and grid.ScaleLength() > 1 for grid in grids)


def _grid(tensor: Any) -> Grid:
    quantization = tensor.Quantization()
    return Grid(float(quantization.Scale(0)), int(quantization.ZeroPoint(0)))
