"""All export formats."""

from paredown.studies.exporters.exporter import Export
from paredown.studies.exporters.onnx import ONNX

EXPORTERS: dict[str, Export] = {"onnx": ONNX}
