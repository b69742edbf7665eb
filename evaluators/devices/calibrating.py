"""A device file of the user's own: a device of the catalogue with latencies from the user's board."""

import json
from dataclasses import asdict
from pathlib import Path

from paredown.evaluators.devices.board_latency import OperatorMacs, predicts
from paredown.evaluators.devices.catalogue import FOLDER, device_profile, read_profile
from paredown.evaluators.devices.profile import DeviceProfile
from paredown.evaluators.errors import DeviceError


def calibrated_file(name: str, out: Path, network: str, macs: OperatorMacs, latency_ms: float) -> DeviceProfile:
    """Write a device file with one more calibration and return the device that it describes.

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
    if not predicts(profile):
        raise DeviceError(
            f"DEVICE: the latency on {profile.id} is not predicted from published results, so there is nothing to "
            "calibrate; microcontrollers are: `paredown device list`"
        )
    base = profile.based_on or profile.id
    if out.exists() and (read_profile(out, "--out").based_on or "") != base:
        raise DeviceError(f"--out: {out} describes another device; name a new file")
    source = out if out.exists() else Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    text = source.read_text()
    head = "" if "based_on = " in text else f'based_on = "{base}"\n'
    entry = f"\n[[calibrations]]\nnetwork = {json.dumps(network)}\nlatency_ms = {latency_ms!r}\n"
    parts = ", ".join(f"{key} = {value:.0f}" for key, value in asdict(macs).items())
    out.write_text(f"{head}{text}{entry}operator_macs = {{ {parts} }}\n")
    return read_profile(out, "--out")
