"""Program that runs a TensorFlow Lite file: TensorFlow Lite Micro may end the process that it runs in.

`python -m paredown.evaluators.litert.runtime_process RUNTIME FOLDER` reads `model.tflite` and `images.npy`, int8 images
`n x h x w x c`, from the folder, and writes `outputs.npy`. What the runtime says goes to standard error; TensorFlow
Lite Micro says there how it filled its arena.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

MICRO, LITERT, XNNPACK = "tflm", "litert", "xnnpack"
LEAST_ARENA = 16 * 2**20
ARENA_FACTOR = 20
"""Bytes offered for the arena, at least and as a multiple of the file; what is used of them is what counts."""


def _micro(file: Path) -> tuple[Callable[[Any], Any], Callable[[], None]]:
    from tflite_micro.python.tflite_micro import runtime

    offered = max(LEAST_ARENA, ARENA_FACTOR * file.stat().st_size)
    config = runtime.InterpreterConfig.kAllocationRecording
    interpreter = runtime.Interpreter.from_file(str(file), arena_size=offered, intrepreter_config=config)

    def run(image: Any) -> Any:
        interpreter.set_input(image, 0)
        interpreter.invoke()
        return interpreter.get_output(0)

    return run, interpreter.print_allocations


def _litert(file: Path, kernels: str) -> tuple[Callable[[Any], Any], Callable[[], None]]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(str(file), experimental_op_resolver_type=OpResolverType[kernels])
    interpreter.allocate_tensors()
    given, made = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(image: Any) -> Any:
        interpreter.set_tensor(given, image)
        interpreter.invoke()
        return interpreter.get_tensor(made)

    return run, lambda: None


def main(runtime: str, folder: Path) -> None:
    """Run the file of a folder on its images."""
    file = folder / "model.tflite"
    # The reference kernels round as those of microcontrollers do; XNNPACK, the default, scales in float.
    run, tell = _micro(file) if runtime == MICRO else _litert(file, "BUILTIN_REF" if runtime == LITERT else "BUILTIN")
    outputs = [np.array(run(image[None])) for image in np.load(folder / "images.npy")]
    np.save(folder / "outputs.npy", np.concatenate(outputs))
    tell()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
