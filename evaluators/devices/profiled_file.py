"""The device file of a machine that was profiled, and the predictor beside it."""

from pathlib import Path
from typing import Any

from paredown.evaluators.devices.catalogue import host, read_profile
from paredown.evaluators.devices.profile import DeviceProfile
from paredown.evaluators.devices.toml_text import replace_text, toml_lines
from paredown.evaluators.latency.predictor import LatencyPredictor


def write_profiled(predictor: LatencyPredictor, out: Path, predictor_file: Path) -> DeviceProfile:
    """Write this machine as a device file with its predictor beside it, and return the device.

    Args:
        predictor: Of this machine.
        out: Device file to write.
        predictor_file: File of the predictor, in the same folder.
    """
    predictor.save(predictor_file)
    name = "".join(c if c.isascii() and c.isalnum() else "-" for c in out.stem.lower()).strip("-")[:40] or "host"
    known = {key: value for key, value in host() if key not in ("memory", "id")}
    keys = {"id": name} | known | {"threads": predictor.facts["threads"], "batch_size": predictor.facts["batch_size"]}
    keys["latency_predictor"] = predictor_file.name
    memory = {key: value for key, value in host().memory}
    lines = ["# Written by `paredown device profile`.", *_stated(keys), "", "[memory]", *_stated(memory)]
    replace_text(out, "\n".join(lines) + "\n")
    return read_profile(out, "--out")


def _stated(keys: dict[str, Any]) -> list[str]:
    return toml_lines((key, value) for key, value in keys.items() if value not in (None, (), ""))
