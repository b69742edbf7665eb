"""How far one operator differs in ONNX Runtime and in a microcontroller's kernels, both given the same integers.

A network is run by LiteRT's reference kernels, which compute what TensorFlow Lite Micro computes but for products of
two tensors. Each of its operators is then cut out of the ONNX file, given the integers that it got there, and its
outputs are compared with what came out there: steps that other layers bring along are not among them.
"""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from paredown.evaluators.litert.conversion import lowered
from paredown.evaluators.litert.integer_graph import UINT8_SHIFT, Operation, Value, read_integer_graph
from paredown.evaluators.litert.operators.catalogue import OPERATORS
from paredown.evaluators.litert.signature import Signature

CHANNELS_FIRST = (0, 3, 1, 2)


def operator_steps(model: bytes, images: NDArray[np.float32]) -> dict[str, dict[str, Any]]:
    """Return, by operator of ONNX, how many outputs differ and by how many steps of their grid.

    Args:
        model: int8 ONNX.
        images: Normalised images `n x c x h x w`.
    """
    graph = read_integer_graph(model, OPERATORS)
    file, lowering = lowered(graph)
    interpreter = _interpreter(file)
    extractor = _extractor(model)
    parts = [(*made, _part(extractor, *made)) for made in graph.operations()]
    found: dict[str, Counter[int]] = {}
    for image in Signature.of(file).quantised(images):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()

        def seen(value: Value) -> NDArray[np.int16]:
            integers = interpreter.get_tensor(lowering.tensor(value)).astype(np.int16)
            moved = integers.transpose(CHANNELS_FIRST) if integers.ndim == 4 else integers
            return moved.reshape(value.shape)

        for operation, output, session in parts:
            given = {v.name: (seen(v) + UINT8_SHIFT).astype(np.uint8) for v in _values(operation)}
            expected = session.run(None, given)[0].astype(np.int16) - UINT8_SHIFT
            steps, counts = np.unique(seen(output) - expected, return_counts=True)
            found.setdefault(_name(operation), Counter()).update(
                dict(zip(steps.tolist(), counts.tolist(), strict=True))
            )
    return {
        name: {
            "outputs": sum(counts.values()),
            "largest_steps": max(abs(steps) for steps in counts),
            "above": sum(count for steps, count in counts.items() if steps > 0) / sum(counts.values()),
            "below": sum(count for steps, count in counts.items() if steps < 0) / sum(counts.values()),
        }
        for name, counts in found.items()
    }


def _interpreter(file: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.tflite")
        path.write_bytes(file)
        interpreter = Interpreter(
            str(path),
            experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
            experimental_preserve_all_tensors=True,
        )
        interpreter.allocate_tensors()
    return interpreter


def _extractor(model: bytes) -> onnx.utils.Extractor:
    proto = onnx.load_from_string(model)
    del proto.graph.value_info[:]
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return onnx.utils.Extractor(onnx.shape_inference.infer_shapes(proto))


def _part(extractor: onnx.utils.Extractor, operation: Operation, output: Value) -> onnxruntime.InferenceSession:
    """Return a session that runs one operator, from integers to integers."""
    names = list(dict.fromkeys(value.name for value in _values(operation)))
    part = extractor.extract_model(names, [output.name])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", "1")  # no clipped sums on x86 without VNNI
    return onnxruntime.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _values(operation: Operation) -> list[Value]:
    return [one for one in operation.inputs if isinstance(one, Value)]


def _name(operation: Operation) -> str:
    is_grouped = operation.kind == "Conv" and operation.attributes.get("group", 1) > 1
    return "Conv in groups" if is_grouped else operation.kind
