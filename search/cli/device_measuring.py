"""The commands `paredown device profile` and `paredown device measure`: what this machine takes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paredown.search.cli.device import check_device_file, device, network_file, written_line
from paredown.search.cli.options import AsJson
from paredown.search.cli.output import print_json, progress_console
from paredown.search.errors import ConfigError

if TYPE_CHECKING:  # --help must not load what measures
    from paredown.evaluators.latency.measuring import MeasuredModel

NUMBER_FORMATS = ("fp32", "int8", "fp16")
SHORTEST_MIN, LONGEST_MIN = 0.5, 60.0


@device.command()
def profile(
    out: Annotated[Path, typer.Option("-o", "--out", help="Device file to write.")] = Path("host.toml"),
    minutes: Annotated[float, typer.Option(help="Time to spend: more networks, better predictions.")] = 9.5,
    threads: Annotated[int, typer.Option(min=1, help="Threads that execute one model.")] = 1,
    batch_size: Annotated[int, typer.Option(min=1, help="Images of one run.")] = 1,
    formats: Annotated[
        str | None,
        typer.Option(
            help="Number formats, fp32 among them. (default: fp32,int8, and fp16 where this processor has it)"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Profile this machine: measure random networks, and write a device file that predicts latency."""
    from paredown.evaluators.device import cores_here
    from paredown.evaluators.devices.profiled_file import write_profiled
    from paredown.evaluators.latency.bench import Asked
    from paredown.evaluators.latency.profiling import number_formats, predictor_file, profiled

    names = number_formats() if formats is None else tuple(dict.fromkeys(n.strip() for n in formats.split(",")))
    if unknown := [name for name in names if name not in NUMBER_FORMATS]:
        raise ConfigError(f"--formats: {unknown[0]!r} is not allowed; allowed: {', '.join(NUMBER_FORMATS)}")
    if "fp32" not in names:
        raise ConfigError(f"--formats: {formats!r} is without fp32, which the others are made of")
    if not SHORTEST_MIN <= minutes <= LONGEST_MIN:
        raise ConfigError(f"--minutes: {minutes:g} is not allowed; allowed: {SHORTEST_MIN:g} to {LONGEST_MIN:g}")
    if threads > (cores := cores_here()):
        raise ConfigError(f"--threads: {threads} is not allowed; allowed: 1 to {cores}, the cores of this machine")
    check_device_file(out)
    console = progress_console()
    asked = Asked(minutes, threads, batch_size, names)
    predictor = profiled(asked, lambda text: console.print(text, markup=False, highlight=False))
    written = write_profiled(predictor, out, predictor_file(out))
    if as_json:
        print_json({"device": str(out), "id": written.id, "profile": predictor.facts})
        return
    for line in profile_lines(predictor.facts):
        typer.echo(line)
    typer.echo(written_line(out))


@device.command()
def measure(
    model_dir: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="Folder of an exported model, or a file.")],
    device_name: Annotated[
        str, typer.Option("--device", help="This machine: `host`, or the file that `device profile` wrote.")
    ] = "host",
    as_json: AsJson = False,
) -> None:
    """Measure a model on this machine, on the threads and at the batch size of a device, beside a reference."""
    from paredown.evaluators.devices.catalogue import device_profile
    from paredown.evaluators.latency.measuring import measured

    found = measured(network_file(model_dir, "MODEL_DIR"), device_profile(device_name, "--device"))
    if as_json:
        print_json(_document(model_dir, device_name, found))
        return
    typer.echo(f"latency     {found.latency.value:.4g} ± {found.latency.spread:.2g} ms, p90 {found.p90_ms:.4g} ms")
    typer.echo(f"throughput  {found.throughput_ips:.0f} images/s at batch {found.batch_size}")
    typer.echo(f"device      {found.latency.device}")
    typer.echo(f"reference   {found.reference_ms:.4g} ms, drifted by {found.reference_drift:+.1%}")
    if found.predicted is not None:
        typer.echo(f"predicted   {found.predicted.note}")
    for remark in found.remarks:
        typer.echo(f"remark      {remark}")


def _document(model_dir: Path, device_name: str, found: "MeasuredModel") -> dict[str, Any]:
    return {
        "model": str(model_dir),
        "device": device_name,
        "latency_ms": found.latency.to_json(),
        "p90_ms": found.p90_ms,
        "throughput_ips": found.throughput_ips,
        "batch_size": found.batch_size,
        "reference_ms": found.reference_ms,
        "reference_drift": found.reference_drift,
        "predicted": found.predicted.to_json() if found.predicted is not None else None,
        "remarks": list(found.remarks),
    }


def profile_lines(facts: dict[str, Any]) -> list[str]:
    """Return in words what a profile says of itself."""
    held_out, (least, most) = facts["held_out"], facts["latency_ms"]
    return [
        f"profiled          {facts['networks']} networks in {', '.join(facts['formats'])}, "
        f"{least:.3g} to {most:.3g} ms, on {facts['device']}",
        f"held-out error    median {held_out['median_error']:.1%}; within 5 % {held_out['within_5_percent']:.0%}, "
        f"within 10 % {held_out['within_10_percent']:.0%}; Kendall's tau {held_out['kendall_tau']:.3f}",
        f"references        drifted by {facts['reference_drift']:+.1%} meanwhile",
    ]
