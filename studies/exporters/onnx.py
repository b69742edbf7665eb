"""ONNX: the file that the trial measured, and the same model packed."""

import shutil
from pathlib import Path
from typing import Any

from paredown.evaluators.errors import PackingError
from paredown.evaluators.files.names import MODEL_FILE, PACKED_FILE
from paredown.studies.exporters.exporter import Exporter, ExportRequest, Manifest, Run, trial_file


def _write(request: ExportRequest, folder: Path) -> Manifest:
    file = trial_file(request.model.trial, request.artifact, MODEL_FILE)
    shutil.copyfile(file, folder / MODEL_FILE)
    return _packed(request, file, folder)


def _packed(request: ExportRequest, model: Path, folder: Path) -> Manifest:
    """Copy the packed file and describe its contents; do nothing for a trial of an earlier version without one."""
    from paredown.evaluators.packing.container import read
    from paredown.evaluators.packing.summary import encoding_rows

    file = model.with_name(PACKED_FILE)
    if not file.is_file():
        return {}
    packed = file.read_bytes()
    try:
        contents = read(packed)
    except PackingError as error:
        raise request.refusal(f"{file}: {error}") from error
    if contents.model != model.read_bytes():
        raise request.refusal(f"{file} does not hold {model.name}")
    (folder / PACKED_FILE).write_bytes(packed)
    return {"packed": {"bytes": len(packed), "parts": contents.parts, "encodings": encoding_rows(contents)}}


def _load(file: Path) -> Run:
    """Return a function that runs the file; it runs a batch with exits stage by stage, a single image as one."""
    from paredown.evaluators.files.exit_runtime import BatchRuntime, ExitPlan
    from paredown.evaluators.files.onnx_session import logits, open_session

    # Files for processors that clip sums have weights of 7 bits, which are exact either way.
    session = open_session(file, exact=True)
    if ExitPlan.of(session) is None:
        return lambda images: logits(session, images)
    batches = BatchRuntime(file, exact=True)
    return lambda images: logits(session, images) if len(images) == 1 else batches.run(images).logits


def _card(manifest: Manifest) -> list[str]:
    return _packed_lines(manifest["packed"]) if "packed" in manifest else []


def _packed_lines(packed: dict[str, Any]) -> list[str]:
    parts = ", ".join(f"{name} {size}" for name, size in packed["parts"].items())
    return [
        "",
        "## Packed file",
        "",
        f"`{PACKED_FILE}` holds the same model in {packed['bytes']} bytes ({parts}): "
        f"`paredown unpack . -o {MODEL_FILE}` restores it, without PyTorch.",
        "",
        "| encoding | tensors | bytes dense | bytes, before compression |",
        "|---|---:|---:|---:|",
        *(f"| {r['encoding']} | {r['tensors']} | {r['dense_bytes']} | {r['bytes']} |" for r in packed["encodings"]),
    ]


ONNX = Exporter(
    name="onnx",
    description="ONNX for ONNX Runtime",
    model_file=MODEL_FILE,
    write=_write,
    load=_load,
    packages=("onnx", "onnxruntime"),
    is_trial_file=True,
    card=_card,
)
