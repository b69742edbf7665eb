"""Writes a TensorFlow Lite file with the schema that comes with the runtimes: tensors, operators, buffers.

Source:
    TensorFlow Lite, schema.fbs, version 3; the versions of operators are those of its tools/versioning.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCHEMA_VERSION = 3
IDENTIFIER = b"TFL3"
ALIGNMENT = 16
"""Bytes to whose multiples constants are aligned: a microcontroller reads them where they lie in flash."""


@dataclass(frozen=True)
class Kind:
    """An operator of TensorFlow Lite.

    Attributes:
        version: First version that takes int8.
        options: Name of its table of options in the schema; empty where it has none.
    """

    version: int
    options: str = ""


KINDS = {
    "ADD": Kind(2, "AddOptions"),
    "AVERAGE_POOL_2D": Kind(2, "Pool2DOptions"),
    "CONCATENATION": Kind(2, "ConcatenationOptions"),
    "CONV_2D": Kind(3, "Conv2DOptions"),
    "DEPTHWISE_CONV_2D": Kind(3, "DepthwiseConv2DOptions"),
    "HARD_SWISH": Kind(1, "HardSwishOptions"),
    "LOGISTIC": Kind(2),
    "MAX_POOL_2D": Kind(2, "Pool2DOptions"),
    "MEAN": Kind(2, "ReducerOptions"),
    "MUL": Kind(2, "MulOptions"),
    "PAD": Kind(2, "PadOptions"),
    "PADV2": Kind(2, "PadV2Options"),
    "QUANTIZE": Kind(2, "QuantizeOptions"),
    "RELU": Kind(2),
    "RESHAPE": Kind(1, "ReshapeOptions"),
    "SLICE": Kind(2, "SliceOptions"),
    "TRANSPOSE": Kind(2, "TransposeOptions"),
}
"""The operators that are written, by their name in the schema."""


class TfliteFile:
    """A file in the making: tensors and operators are added in the order in which they run."""

    def __init__(self) -> None:
        from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

        self._schema: Any = schema
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._buffers: list[bytes] = [b""]  # the first one is empty by convention
        self._codes: list[str] = []

    def tensor(
        self,
        shape: Sequence[int],
        dtype: str = "INT8",
        scales: Sequence[float] | NDArray[np.float32] | None = None,
        zero_point: int = 0,
        axis: int = 0,
        data: NDArray[Any] | None = None,
    ) -> int:
        """Add a tensor and return its number.

        Args:
            shape: Its shape.
            dtype: Its type, as the schema names it.
            scales: One scale, or one for each index of `axis`; None for a tensor of plain integers.
            zero_point: Integer that stands for 0.
            axis: Axis of the scales.
            data: Its values, where it is a constant.
        """
        schema = self._schema
        quantization = None
        if scales is not None:
            quantization = schema.QuantizationParametersT(
                scale=np.array(scales, np.float32),
                zeroPoint=np.full(len(scales), zero_point, np.int64),
                quantizedDimension=axis,
            )
        buffer = 0
        if data is not None:
            self._buffers.append(data.tobytes())
            buffer = len(self._buffers) - 1
        self._tensors.append(
            schema.TensorT(
                shape=list(shape),
                type=getattr(schema.TensorType, dtype),
                buffer=buffer,
                name=f"t{len(self._tensors)}",
                quantization=quantization,
                hasRank=True,
            )
        )
        return len(self._tensors) - 1

    def operator(self, kind: str, inputs: Sequence[int], output: int, **options: Any) -> None:
        """Add an operator.

        Args:
            kind: A name of `KINDS`.
            inputs: Numbers of the tensors that it takes; -1 for one that is left out.
            output: Number of the tensor that it makes.
            **options: Fields of its table of options.
        """
        schema, name = self._schema, KINDS[kind].options
        if kind not in self._codes:
            self._codes.append(kind)
        table, table_type = None, schema.BuiltinOptions.NONE
        if name:
            table, table_type = getattr(schema, f"{name}T")(), getattr(schema.BuiltinOptions, name)
            for key, value in options.items():
                setattr(table, key, value)
        self._operators.append(
            schema.OperatorT(
                opcodeIndex=self._codes.index(kind),
                inputs=list(inputs),
                outputs=[output],
                builtinOptionsType=table_type,
                builtinOptions=table,
            )
        )

    def written(self, given: int, output: int) -> bytes:
        """Return the file.

        Args:
            given: Number of the tensor that the model takes.
            output: Number of the tensor that it gives.
        """
        schema = self._schema
        graph = schema.SubGraphT(
            tensors=self._tensors, inputs=[given], outputs=[output], operators=self._operators, name="main"
        )
        codes = [getattr(schema.BuiltinOperator, kind) for kind in self._codes]
        model = schema.ModelT(
            version=SCHEMA_VERSION,
            operatorCodes=[
                schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code, version=KINDS[kind].version)
                for kind, code in zip(self._codes, codes, strict=True)
            ],
            subgraphs=[graph],
            description="Paredown",
            buffers=[_Buffer(data) for data in self._buffers],
        )
        builder = _sharing_builder(sum(map(len, self._buffers)) + 65536)
        builder.Finish(model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())


def _sharing_builder(size: int) -> Any:
    """Return a builder of flatbuffers that writes equal vectors once, such as the zero points of a layer's channels."""
    import flatbuffers

    class Builder(flatbuffers.Builder):  # type: ignore[misc]  # the library has no types
        def __init__(self, size: int) -> None:
            super().__init__(size)
            self._written: dict[tuple[str, bytes], int] = {}

        def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802  (the library's name)
            key = (x.dtype.str, x.tobytes())
            if key not in self._written:
                self._written[key] = int(super().CreateNumpyVector(x))
            return self._written[key]

    return Builder(size)


class _Buffer:
    """A buffer whose data lie at a multiple of the alignment, which the generated classes do not see to."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def Pack(self, builder: Any) -> int:  # noqa: N802  (the schema's name)
        from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

        data = None
        if self._data:
            builder.StartVector(1, len(self._data), ALIGNMENT)
            builder.head -= len(self._data)
            builder.Bytes[builder.head : builder.head + len(self._data)] = self._data
            data = builder.EndVector()
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        return int(schema.BufferEnd(builder))
