"""Most memory that tensors take at one time while a network runs on one image: a lower bound of what a runtime needs.

It is found by liveness over the exported file: a tensor lives from the kernel that writes it to the last one that reads
it, in the order of the file; what a runtime fuses has no tensors inside, and elementwise kernels write where they
read. An allocator adds padding, work space and what it cannot place without gaps; TensorFlow Lite Micro's arena of a
MobileNet is a third larger, so a limit on the memory of a microcontroller belongs on `ram_bytes`.

Source:
    Lin et al., MCUNet, NeurIPS 2020, section 3.2 (peak of activations as the limit on a microcontroller).
"""

from typing import TYPE_CHECKING

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.metrics.evaluation_input import EvaluationInput, Evaluator
from paredown.evaluators.metrics.measurement import Measurement, Metric

if TYPE_CHECKING:
    from paredown.evaluators.files.onnx_graph import Graph
    from paredown.evaluators.latency.kernels import Kernel

METRIC = Metric("peak_activation_bytes", "B", "lower bound", decimals=None, untrained_tolerance=0.05)
NOTE = "a lower bound: liveness of tensors, without padding, work space and gaps"


def _measure(inputs: EvaluationInput) -> Measurement:
    from paredown.evaluators.files.onnx_graph import read_graph

    if inputs.file is None:
        raise EvaluationError("peak_activation_bytes: there is no exported file yet")
    return Measurement(METRIC.name, peak_bytes(read_graph(inputs.file)), how="lower bound", note=NOTE)


def peak_bytes(graph: "Graph") -> int:
    """Return the most bytes that live at one time; of alternatives, those of the largest."""
    from paredown.evaluators.latency.kernels import kernels_of

    kernels = kernels_of(graph)
    born = dict.fromkeys(graph.inputs, -1)
    dies: dict[str, int] = {}
    for at, kernel in enumerate(kernels):
        born |= dict.fromkeys(kernel.outputs, at)
        dies |= dict.fromkeys(kernel.inputs, at)
    dies |= dict.fromkeys(graph.outputs, len(kernels))
    sizes = {name: graph.tensors[name].size_bytes for name in born}
    most = 0
    for at, kernel in enumerate(kernels):
        living = sum(sizes[name] for name in born if born[name] <= at <= dies.get(name, born[name]))
        inside = max((peak_bytes(branch) for operator in kernel.operators for branch in operator.branches), default=0)
        most = max(most, living + inside - _in_place(kernel, sizes, dies, at))
    return most


def _in_place(kernel: "Kernel", sizes: dict[str, int], dies: dict[str, int], at: int) -> int:
    """Return the bytes of the output that lie where an input has just been read."""
    from paredown.evaluators.latency.kernels import IN_PLACE

    adds = any(operator.kind == "Add" for operator in kernel.operators)
    if not (adds or kernel.first.kind in IN_PLACE) or len(kernel.outputs) != 1:
        return 0
    candidates = kernel.inputs[1:] if adds and kernel.first.kind not in IN_PLACE else kernel.inputs
    own = sizes[kernel.outputs[0]]
    return own if any(sizes.get(name) == own and dies[name] == at for name in candidates) else 0


PEAK_ACTIVATION_BYTES = Evaluator(METRIC, "file", _measure, applies=lambda inputs: False)
