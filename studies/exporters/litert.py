"""LiteRT (TensorFlow Lite): the int8 file of a microcontroller, with the integers of the trial's own ONNX file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from paredown.evaluators.files.names import MODEL_FILE
from paredown.evaluators.litert.extra import require_mcu
from paredown.studies.exporters.exporter import Exporter, ExportRequest, Manifest, Run, trial_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TFLITE_FILE = "model.tflite"
COMPARED = 64
"""Number of validation images on which the runtimes are compared integer by integer."""


def _write(request: ExportRequest, folder: Path) -> Manifest:
    from paredown.evaluators.litert.comparison import compare
    from paredown.evaluators.litert.conversion import tflite_model
    from paredown.evaluators.litert.integer_graph import NoIntegerFile
    from paredown.evaluators.litert.runtimes import arena

    onnx = trial_file(request.model.trial, request.artifact, MODEL_FILE).read_bytes()
    try:
        model = tflite_model(onnx, request.target.weight_granularity if request.target else "channel")
    except NoIntegerFile as error:
        raise request.refusal(str(error)) from error
    (folder / TFLITE_FILE).write_bytes(model)
    memory, compared = arena(model), compare(onnx, model, _images(request))
    return {
        "microcontroller": {
            "file_bytes": len(model),
            "arena_bytes": memory.total,
            "arena_head_bytes": memory.head,
            "arena_tail_bytes": memory.tail,
            "compared_images": compared.images,
            "litert_max_steps": compared.litert_steps,
            "onnx_max_steps": compared.onnx_steps,
        }
    }


def _images(request: ExportRequest) -> "NDArray[np.float32]":
    """Return normalised validation images, spread evenly over them."""
    from paredown.evaluators.tasks.task import normalisation_at, split_at
    from paredown.spaces.families.family import longer_side

    resolution = longer_side(request.shape)
    images = split_at(request.task, "validation", resolution).images
    return normalisation_at(request.task, resolution)(images[:: max(1, len(images) // COMPARED)][:COMPARED])


def _load(file: Path) -> Run:
    """Return a function that runs the file in TensorFlow Lite Micro, whose integers are those of the target."""
    require_mcu()
    from paredown.evaluators.litert.runtimes import run_micro
    from paredown.evaluators.litert.signature import Signature

    model = file.read_bytes()
    signature = Signature.of(model)
    return lambda images: signature.logits(run_micro(model, signature.quantised(images))[0])


def _card(manifest: Manifest) -> list[str]:
    facts: dict[str, Any] = manifest["microcontroller"]
    steps = facts["litert_max_steps"]
    litert = f"integers that differ by at most {steps}" if steps else "the same integers"
    return [
        "",
        "## On a microcontroller",
        "",
        f"Flash: {facts['file_bytes']} bytes for `{TFLITE_FILE}`, and the engine's code. RAM: an arena of "
        f"{facts['arena_bytes']} bytes, as TensorFlow Lite Micro's own allocator counts on a 64-bit host "
        f"({facts['arena_head_bytes']} for tensors; the other {facts['arena_tail_bytes']} hold pointers and are fewer "
        "on 32 bits). Input and output are int8, images channels last (n x h x w x c). `predict` and `test_accuracy` "
        "run it in TensorFlow Lite Micro.",
        "",
        f"On {facts['compared_images']} validation images LiteRT's reference kernels give {litert}, and the trial's "
        f"ONNX file in ONNX Runtime differs by at most {facts['onnx_max_steps']} steps of the output's int8 grid.",
    ]


LITERT = Exporter(
    name="litert",
    description="int8 LiteRT (TensorFlow Lite) for microcontrollers",
    model_file=TFLITE_FILE,
    write=_write,
    load=_load,
    packages=("tflite_micro", "ai-edge-litert"),
    card=_card,
    require=require_mcu,
)
