"""A device file of the user's own: a device of the catalogue with latencies from the user's board."""

import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from paredown.evaluators.devices.board_latency import OperatorMacs, predicts
from paredown.evaluators.devices.catalogue import FOLDER, described_profile, device_profile, read_profile
from paredown.evaluators.devices.profile import DeviceProfile
from paredown.evaluators.devices.toml_text import replace_text, toml_lines
from paredown.evaluators.errors import DeviceError

BASED_ON, CALIBRATIONS, MEMORY = "based_on", "calibrations", "memory"


def calibrated_file(name: str, out: Path, network: str, macs: OperatorMacs, latency_ms: float) -> DeviceProfile:
    """Write a device file with one more calibration and return the device that it describes.

    Nothing is written where the file would not describe that device.

    Args:
        name: Device of the catalogue, or a device file; `out` may be that same file.
        out: File to write.
        network: Where the network lay, for people who read the file.
        macs: Multiply-accumulates of the network.
        latency_ms: What the board took for one image, in ms.

    Raises:
        DeviceError: There is no such device, its latency is measured and not predicted, or `out` is another device.
    """
    profile = device_profile(name, "DEVICE")
    base = _base(profile)
    if not predicts(profile):
        raise DeviceError(
            f"DEVICE: the latency on {profile.id} is not predicted from published results, so there is nothing to "
            "calibrate; microcontrollers are: `paredown device list`, and a file of your own that names one under "
            f"{BASED_ON}"
        )
    if out.resolve().parent == FOLDER.resolve():
        raise DeviceError(f"--out: {out} belongs to the catalogue of devices; name a new file")
    if out.exists() and _base(read_profile(out, "--out")) != base:
        raise DeviceError(f"--out: {out} describes another device; name a new file")
    source = out if out.exists() else Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    entry = {
        "network": network.encode(errors="replace").decode(),  # a name of a file may be no text
        "latency_ms": latency_ms,
        "operator_macs": {key: round(value) for key, value in asdict(macs).items()},
    }
    text = _with_calibration(source.read_text(encoding="utf-8"), base, entry)
    described = described_profile(text, out, "--out")
    replace_text(out, text)
    return described


def _base(profile: DeviceProfile) -> str:
    return profile.based_on or profile.id


def _with_calibration(text: str, base: str, entry: dict[str, Any]) -> str:
    """Return the text of a device file with one more calibration: with all of its comments where that can be.

    An array of calibrations in one line takes no more tables below it: such a file is written anew.
    """
    known = tomllib.loads(text)
    wanted = {BASED_ON: base} | known | {CALIBRATIONS: [*known.get(CALIBRATIONS, []), entry]}
    head = [] if BASED_ON in known else toml_lines([(BASED_ON, base)])
    longer = "\n".join([*head, text, f"[[{CALIBRATIONS}]]", *toml_lines(entry.items()), ""])
    try:
        if tomllib.loads(longer) == wanted:
            return longer
    except tomllib.TOMLDecodeError:
        pass  # the calibrations stand in one line, and cannot go on below
    lines = toml_lines((key, value) for key, value in wanted.items() if key not in (MEMORY, CALIBRATIONS))
    lines += ["", f"[{MEMORY}]", *toml_lines(wanted[MEMORY].items())]
    for one in wanted[CALIBRATIONS]:
        lines += ["", f"[[{CALIBRATIONS}]]", *toml_lines(one.items())]
    return "\n".join(lines) + "\n"
