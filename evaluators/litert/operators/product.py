"""Products with a matrix of weights.

They are written as 1 x 1 convolutions of one pixel. FULLY_CONNECTED takes one scale a tensor by TensorFlow Lite's
specification: engines that know no more read a file with one scale a channel wrongly, and without a word.
"""

from paredown.evaluators.litert.integer_graph import Constant, Operation, Value
from paredown.evaluators.litert.operators.lowering import Lowering, channels_last
from paredown.evaluators.litert.operators.padding import VALID


def product(operation: Operation, output: Value, lowering: Lowering) -> None:
    """Write a Gemm or MatMul with constant weights."""
    x, weight = operation.inputs[:2]
    if not isinstance(x, Value) or not isinstance(weight, Constant):
        raise operation.refused("a product of two tensors of the network; allowed: constant weights")
    given = operation.attributes
    if channels_last(x.shape)[1:3] != (1, 1) or weight.integers.ndim != 2:
        raise operation.refused(f"its input is of shape {x.shape}; allowed: features")
    if given.get("transA", 0) or given.get("alpha", 1.0) != 1.0 or given.get("beta", 1.0) != 1.0:
        raise operation.refused("transA, alpha or beta; allowed: a plain product")
    number, scales = lowering.weights(filters(weight, bool(given.get("transB", 0))), (0, 2, 3, 1))
    lowering.file.operator(
        "CONV_2D",
        [lowering.tensor(x), number, lowering.bias(operation, x, scales, output.shape[-1])],
        lowering.tensor(output),
        padding=VALID,
        strideH=1,
        strideW=1,
        fusedActivationFunction=lowering.activation(operation, output.grid),
    )


def filters(weight: Constant, transposed: bool) -> Constant:
    """Return the matrix as 1 x 1 filters, `outputs x inputs x 1 x 1`.

    Args:
        weight: The matrix.
        transposed: Whether it is `outputs x inputs`.
    """
    matrix = weight.integers if transposed else weight.integers.T
    return Constant(matrix[:, :, None, None], weight.scales)
