"""The command `check`: whether an exported model keeps limits, for people's continuous integration."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paredown.search.cli.options import AsJson
from paredown.search.cli.output import print_json, print_table
from paredown.search.cli.select import OPTIONS, pairs

if TYPE_CHECKING:  # --help must not load what reads models
    from paredown.evaluators.metrics.measurement import Measurement

BROKEN = 1
"""Exit code where a limit is broken."""


def check(
    model_dir: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="Folder of an exported model.")],
    device: Annotated[
        str | None, typer.Option(help="Device whose memory and number formats the model must keep.")
    ] = None,
    most: Annotated[
        list[str] | None, typer.Option("--max", help="Largest value allowed: METRIC=VALUE.", metavar="LIMIT")
    ] = None,
    least: Annotated[
        list[str] | None, typer.Option("--min", help="Smallest value allowed: METRIC=VALUE.", metavar="LIMIT")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check an exported model against limits and a device; exit code 1 where it breaks one."""
    from paredown.evaluators.devices.catalogue import device_profile
    from paredown.search.api.limits import limits_of
    from paredown.studies.device_check import check_model

    limits = limits_of(pairs(most, "--max"), pairs(least, "--min"), None, OPTIONS)
    profile = device_profile(device, "--device") if device is not None else None
    checked = check_model(model_dir, profile, limits)
    if as_json:
        print_json(
            {
                "model": str(model_dir),
                "device": device,
                "kept": not checked.broken,
                "limits": [
                    {"metric": limit.metric.name, "limit": limit.limit, "value": found.value if found else None}
                    | {"kept": kept, "how": found.how if found else ""}
                    for limit, found, kept in checked.rows
                ],
                "refused": checked.refusal,
            }
        )
    else:
        rows = [
            [
                limit.metric.name,
                _value(limit.metric.with_unit, found),
                f"{'>=' if limit.metric.higher_is_better else '<='} {limit.limit:g}",
                "kept" if kept else "BROKEN",
                _how(found),
            ]
            for limit, found, kept in checked.rows
        ]
        if rows:
            print_table(["metric", "value", "limit", "", "how"], rows)
        if checked.refusal:
            typer.echo(f"device     BROKEN: {checked.refusal}")
        typer.echo("broken: " + ", ".join(checked.broken) if checked.broken else "every limit is kept")
    if checked.broken:
        raise typer.Exit(BROKEN)


def _value(with_unit: Any, found: "Measurement | None") -> str:
    return with_unit(found.value) if found is not None else "unknown"


def _how(found: "Measurement | None") -> str:
    if found is None:
        return "the manifest does not have it, and the device does not tell"
    return f"{found.how}{', ' + found.device if found.device else ''}{': ' + found.note if found.note else ''}"
