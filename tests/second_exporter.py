"""A second export format, as its author would write it: a program of `torch.export`."""

import zipfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from paredown.evaluators.errors import EvaluationError
from paredown.spaces.compression.tolerance import FLOAT32
from paredown.studies.exporters.exporter import Exporter, ExportRequest, Manifest, Run


def _write(request: ExportRequest, folder: Path) -> Manifest:
    batch = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(request.network.eval(), (torch.zeros(2, *request.shape),), dynamic_shapes=batch)
    torch.export.save(program, folder / "model.pt2")
    return {"nodes": len(program.graph.nodes)}


def _load(file: Path) -> Run:
    try:
        network = torch.export.load(file).module()
    except zipfile.BadZipFile as error:
        raise EvaluationError(f"PyTorch cannot load the program: {error}") from error

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(images)).numpy())

    return run


PROGRAM = Exporter(
    name="program",
    description="a program of torch.export",
    model_file="model.pt2",
    write=_write,
    load=_load,
    tolerance=FLOAT32,
    card=lambda manifest: ["", f"The program has {manifest['nodes']} nodes."],
)
