"""Whether the extra `mcu` is installed; nothing is imported for that."""

import importlib.util

from paredown.evaluators.errors import ExtraMissing

MODULES = ("flatbuffers", "tflite_micro", "ai_edge_litert", "ethosu")


def require_mcu() -> None:
    """Refuse to go on without the extra.

    Raises:
        ExtraMissing: A package of the extra is not installed; the message has the command.
    """
    missing = [module for module in MODULES if importlib.util.find_spec(module) is None]
    if missing:
        raise ExtraMissing(
            f"files and metrics of microcontrollers need the extra mcu ({', '.join(missing)} not found): "
            "pip install 'paredown[mcu]'"
        )
