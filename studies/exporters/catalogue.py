"""All export formats."""

from typing import TYPE_CHECKING

from paredown.studies.errors import StudyError
from paredown.studies.exporters.exporter import Exporter
from paredown.studies.exporters.litert import LITERT
from paredown.studies.exporters.onnx import ONNX

if TYPE_CHECKING:  # the command line imports this file at once, and --help must not load numpy
    from paredown.studies.front import Model

EXPORTERS: dict[str, Exporter] = {exporter.name: exporter for exporter in (ONNX, LITERT)}

DEFAULT_FORMAT = ONNX.name
"""Format that is used where none is named."""
FIRST_FORMAT = ONNX.name
"""Format of folders whose manifest names none, since they were written when there was no other."""


def exporter_named(name: str, where: str) -> Exporter:
    """Return an exporter of the catalogue.

    Args:
        name: Name in the catalogue.
        where: How the message names the place where the name stands.

    Raises:
        StudyError: There is no exporter of that name; the message says what is allowed.
        ExtraMissing: The packages of the format are not installed.
    """
    if name not in EXPORTERS:
        raise StudyError(f"{where}: {name!r} does not exist; allowed: {', '.join(EXPORTERS)}")
    EXPORTERS[name].require()
    return EXPORTERS[name]


def folder_name(model: "Model", exporter: Exporter = EXPORTERS[DEFAULT_FORMAT]) -> str:
    """Return the name of a model's folder; other formats do not replace the folder of the default one."""
    return trial_folder(model.trial, exporter.name)


def trial_folder(trial: int, format_name: str) -> str:
    """Return the name of the folder of an exported trial."""
    return f"trial-{trial:04d}" + ("" if format_name == DEFAULT_FORMAT else f"-{format_name}")
