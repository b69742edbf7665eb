"""All devices: the TOML files of this folder, this machine as `host`, and files of users."""

import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from pydantic import ValidationError

from paredown.evaluators.device import this_device
from paredown.evaluators.devices.profile import DeviceProfile, Figure, Memory
from paredown.evaluators.errors import DeviceError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

FOLDER = Path(__file__).parent
HOST = "host"
LONGEST_GIVEN = 80
"""Characters of a wrong value that a message shows."""


@cache
def device_ids() -> tuple[str, ...]:
    """Return the names of all devices in the catalogue, this machine first."""
    return (HOST, *sorted(file.stem for file in FOLDER.glob("*.toml")))


def device_profile(name: str, where: str = "device", folder: Path = Path()) -> DeviceProfile:
    """Return a device by its name, or from a TOML file of the user.

    Args:
        name: Name in the catalogue, or a path that ends in `.toml`.
        where: How messages name the place where the name stands.
        folder: Folder in which relative paths start.

    Raises:
        DeviceError: There is no such device or file, or the file does not describe one; the message names the key.
    """
    if name == HOST:
        return host()
    if name.endswith(".toml"):
        return read_profile(folder / name, where)
    if name not in device_ids():
        raise DeviceError(
            f"{where}: device {name!r} does not exist; allowed: {', '.join(device_ids())}, or a .toml file of your own"
        )
    return read_profile(FOLDER / f"{name}.toml", where)


def read_profile(file: Path, where: str) -> DeviceProfile:
    """Return the device that a TOML file describes.

    Raises:
        DeviceError: The file is missing, is no TOML, or a key is wrong; the message names file and key.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        raise DeviceError(f"{where}: {file} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return described_profile(text, file, where)


def described_profile(text: str, file: Path, where: str) -> DeviceProfile:
    """Return the device that the text of a file describes, whether or not it is written yet.

    Raises:
        DeviceError: It is no TOML, or a key is wrong; the message names file and key.
    """
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise DeviceError(f"{where}: {file} is no valid TOML: it is nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        raise DeviceError(f"{where}: {file} is no valid TOML: {error}") from error
    except ValueError:
        raise DeviceError(f"{where}: {file} is no valid TOML: a number has thousands of digits") from None
    if not data:
        raise DeviceError(
            f"{where}: {file} has no keys; needed: those of a device file, such as {FOLDER / 'f746.toml'}"
        )
    try:
        profile = DeviceProfile.model_validate(data)
    except ValidationError as error:
        raise DeviceError("\n".join(_problem(file, one) for one in error.errors())) from None
    if profile.based_on is not None and profile.based_on not in device_ids()[1:]:
        raise DeviceError(
            f"{file}: based_on: device {profile.based_on!r} does not exist; allowed: {', '.join(device_ids()[1:])}"
        )
    if profile.latency_predictor is None:
        return profile
    predictor = file.absolute().with_name(profile.latency_predictor)
    if not predictor.is_file():
        raise DeviceError(
            f"{file}: latency_predictor: there is no {predictor}; `paredown device profile --out {file}` makes it"
        )
    return profile.model_copy(update={"latency_predictor": str(predictor)})


def _problem(file: Path, error: "ErrorDetails") -> str:
    """Return a problem of one key in words; what was found is left out where it is a table, whose keys tell."""
    given = "" if isinstance(error["input"], dict) else f" (got {repr(error['input'])[:LONGEST_GIVEN]})"
    parts = [str(file), ".".join(map(str, error["loc"])), error["msg"].removeprefix("Value error, ")]
    return ": ".join(part for part in parts if part) + given


def host() -> DeviceProfile:
    """Return this machine with ONNX Runtime."""
    here = this_device()
    total = psutil.virtual_memory().total
    clock = psutil.cpu_freq()
    return DeviceProfile(
        id=HOST,
        name=f"this machine: {here.name}",
        kind="computer",
        processor=here.name,
        engine=here.runtime,
        engine_version=here.runtime_version,
        format="onnx",
        dtypes=("fp32", "fp16", "int8"),
        channel_multiple=8,
        note="Its int8 kernels clip sums: weights take 7 bits." if here.int8_sums_saturate else "",
        cores=Figure(value=psutil.cpu_count() or 1, kind="measured", source="psutil.cpu_count"),
        clock_mhz=Figure(value=round(clock.current) if clock else 0, kind="measured", source="psutil.cpu_freq, now"),
        memory=Memory(
            ram_bytes=Figure(value=total, kind="measured", source="psutil.virtual_memory"),
            reserved_ram_bytes=Figure(
                value=total - psutil.virtual_memory().available, kind="measured", source="psutil.virtual_memory, now"
            ),
        ),
    )
