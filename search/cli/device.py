"""The commands `paredown device ...`: devices for which models are searched, and what is known of them."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from paredown.search.cli.options import AsJson
from paredown.search.cli.output import print_json, print_table
from paredown.search.errors import ConfigError

if TYPE_CHECKING:  # --help must not load what reads devices
    from paredown.evaluators.devices.profile import DeviceProfile, Figure

device = typer.Typer(help="Devices: what is known of them, and from where.", no_args_is_help=True)
DeviceName = Annotated[
    str, typer.Argument(metavar="DEVICE", help="Name of a device, or a TOML file; `paredown device list` lists them.")
]


@device.command("list")
def list_devices(as_json: AsJson = False) -> None:
    """List the devices: hardware, engine, number formats, and the memory that a model may use."""
    from paredown.evaluators.devices.catalogue import device_ids, device_profile

    profiles = [device_profile(name) for name in device_ids()]
    if as_json:
        print_json({"devices": [profile.to_json() for profile in profiles]})
        return
    rows = [
        [
            p.id,
            p.engine,
            " ".join(p.dtypes),
            f"{p.clock_mhz.value:g}",
            size(p.arena_bytes),
            size(p.memory.flash_bytes.value - p.engine_flash_bytes) if p.memory.flash_bytes else "",
            p.name,
        ]
        for p in profiles
    ]
    print_table(["device", "engine", "formats", "MHz", "RAM", "flash", "hardware"], rows)
    typer.echo("RAM: largest block without what is reserved; flash: without the engine's code. Sources: device show.")


@device.command()
def show(name: DeviceName, as_json: AsJson = False) -> None:
    """Show all that is known of a device: each number with its source and how it was found."""
    from paredown.evaluators.devices.catalogue import device_profile

    profile = device_profile(name, "DEVICE")
    if as_json:
        print_json(profile.to_json())
        return
    consequences = [*_consequences(profile), *_profiled(profile)]  # may be refused: before anything is printed
    for key, text in _facts(profile):
        typer.echo(f"{key:<20} {text}")
    typer.echo("")
    print_table(
        ["figure", "value", "kind", "source"],
        [[key, _value(key, figure), figure.kind, figure.source] for key, figure in _figures(profile)],
    )
    typer.echo("")
    for metric, limit in profile.limits.items():
        typer.echo(f"{metric} <= {limit:.0f} ({size(limit)})")
    for line in consequences:
        typer.echo(line)


@device.command()
def calibrate(
    name: DeviceName,
    model: Annotated[
        Path, typer.Option(help="The network that ran on the board: an exported folder, an ONNX or a .tflite file.")
    ],
    ms: Annotated[float, typer.Option(help="What the board took for one image, in ms.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Device file to write, or to add to. (default: DEVICE.toml)")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Narrow predicted latencies by one number from your own board; the file it writes is a device from then on."""
    from paredown.evaluators.devices.board_latency import predict
    from paredown.evaluators.devices.calibrating import calibrated_file
    from paredown.evaluators.devices.catalogue import device_profile
    from paredown.evaluators.devices.operator_macs import operator_macs
    from paredown.evaluators.devices.profile import LONGEST_MS, SMALLEST

    if not SMALLEST <= ms <= LONGEST_MS:
        raise ConfigError(f"--ms: {ms:g} is not allowed; allowed: milliseconds above 0, at most {LONGEST_MS:g}")
    before = device_profile(name, "DEVICE")
    target = out or Path(name if name.endswith(".toml") else f"{name}.toml")
    check_device_file(target)
    macs = operator_macs(file := network_file(model, "--model"))
    if macs.total < 1:
        raise ConfigError(f"--model: {file} has no convolution and no matrix product, so its latency tells nothing")
    after = calibrated_file(name, target, str(model), macs, ms)
    predicted = {"before": predict(before, macs), "after": predict(after, macs)}
    if as_json:
        print_json({"device": str(target), "predicted": {key: vars(value) for key, value in predicted.items()}})
        return
    typer.echo(f"predicted before  {predicted['before']}")
    typer.echo(f"predicted now     {predicted['after']}")
    typer.echo(written_line(target))


def check_device_file(out: Path) -> None:
    """Refuse a place where no device file can be written.

    Raises:
        ConfigError: It does not end in `.toml`, as names of device files do, or its folder is missing.
    """
    if out.suffix != ".toml" or not out.absolute().parent.is_dir():
        raise ConfigError(f"--out: {out} is not allowed; allowed: a file .toml in a folder that exists")


def network_file(model: Path, where: str) -> Path:
    """Return the file of the model in an exported folder, or the file itself.

    Raises:
        ConfigError: There is no such file.
        StudyError: The folder holds no exported model.
    """
    from paredown.evaluators.files.names import MODEL_FILE
    from paredown.studies.model_folder.manifest import read_manifest

    file = model / (read_manifest(model).model_file or MODEL_FILE) if model.is_dir() else model
    if not file.is_file():
        raise ConfigError(f"{where}: there is no {file}; `paredown export` writes one")
    return file


def size(value: float) -> str:
    """Return a number of bytes in binary units."""
    for unit, factor in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if value >= factor:
            return f"{value / factor:.4g} {unit}"
    return f"{value:.0f} B"


def _facts(profile: "DeviceProfile") -> list[tuple[str, str]]:
    facts = [
        ("device", profile.id),
        ("hardware", profile.name),
        ("kind", profile.kind),
        ("processor", profile.processor),
        ("engine", f"{profile.engine} {profile.engine_version}".rstrip()),
        ("file", f"{profile.format} (paredown export --format {profile.format})"),
        ("number formats", ", ".join(profile.dtypes)),
        ("int8 weights", f"one scale a {profile.weight_granularity}"),
        ("one run", f"{profile.batch_size} image(s) on {profile.threads} thread(s)"),
        ("channels", f"best in multiples of {profile.channel_multiple}"),
        ("Vela", profile.npu or ""),
        ("note", profile.note),
    ]
    return [(key, text) for key, text in facts if text]


def _figures(profile: "DeviceProfile") -> list[tuple[str, "Figure"]]:
    figures = {name: getattr(profile, name) for name in ("cores", "clock_mhz", "power_mw")}
    figures |= {name: getattr(profile.memory, name) for name in type(profile.memory).model_fields}
    return [(name, figure) for name, figure in figures.items() if figure is not None]


def _profiled(profile: "DeviceProfile") -> list[str]:
    """Return in words how the predictor of a device was made, and how far to trust it."""
    if profile.latency_predictor is None:
        return []
    from paredown.evaluators.latency.predictor import load_predictor
    from paredown.search.cli.device_measuring import profile_lines

    return profile_lines(load_predictor(Path(profile.latency_predictor)).facts)


def _value(key: str, figure: "Figure") -> str:
    return f"{figure.value:,.0f} ({size(figure.value)})" if key.endswith("_bytes") else figure.interval_text


def _consequences(profile: "DeviceProfile") -> list[str]:
    """Return in words what a search for the device does by itself."""
    lines = []
    if profile.is_int8_only:
        lines.append("A candidate that is not int8 is rejected before training.")
    if profile.weight_granularity == "tensor":
        lines.append("Int8 weights take one scale a tensor.")
    return lines


def written_line(file: Path) -> str:
    """Return where a device file was written, and what to do with it."""
    return f"device file       {file}: write `device: {file}` in a study file, or `select --device {quote(str(file))}`"
