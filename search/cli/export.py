"""The commands `export`, `report` and `predict`: what leaves a study, and how an exported model is run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from paredown.search.cli.options import (
    DEFAULT_STORAGE,
    AsJson,
    DeviceFormat,
    ModelsFolder,
    Storage,
    StudyName,
    open_study,
)
from paredown.search.cli.output import print_json, print_refused, print_table, progress_console, relative
from paredown.search.errors import ConfigError
from paredown.studies.exporters.catalogue import exporter_named


def export(
    study: StudyName,
    whole_front: Annotated[bool, typer.Option("--front", help="Export every model of the front.")] = False,
    trial: Annotated[list[int] | None, typer.Option(help="Number of a trial; may be repeated.")] = None,
    format_name: DeviceFormat = None,
    device: Annotated[str | None, typer.Option(help="Device that the files are made for.")] = None,
    out: ModelsFolder = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Write models as folders: the file, a manifest and a card; each is verified against its network."""
    if format_name is not None:
        exporter_named(format_name, "--format")
    if not whole_front and not trial:
        raise ConfigError("say which models: --front, or --trial N")
    opened = open_study(storage, study)
    numbers = [model.trial for model in opened.front()] if whole_front else []
    numbers += [number for number in trial or [] if number not in numbers]
    if not numbers:
        raise ConfigError(f"study {study!r} has no finished model yet; run `paredown search` first")
    with progress_console().status("exporting"):
        exported = opened.export_report(numbers, out, format=format_name, device=device)
        remarks = _beyond(exported.folders, device) if device is not None else []
    print_refused(exported.refused)
    for remark in remarks:
        progress_console().print(remark, markup=False, highlight=False, soft_wrap=True)
    if as_json:
        print_json({"study": study, "exported": [str(path) for path in exported.folders]})
        return
    for path in exported.folders:
        typer.echo(f"model   {relative(path)}")


def _beyond(folders: Sequence[Path], device: str) -> list[str]:
    """Return in words which exported models are beyond the limits of a device; they are exported all the same."""
    from paredown.evaluators.devices.catalogue import device_profile
    from paredown.studies.device_check import check_model

    profile, remarks = device_profile(device, "--device"), []
    for folder in folders:
        checked = check_model(folder, profile, [])
        broken = [limit.describe(found.value) for limit, found, kept in checked.rows if found is not None and not kept]
        broken += [checked.refusal] if checked.refusal else []
        remarks += [f"{relative(folder)}: does not run on {profile.id}: {'; '.join(broken)}"] if broken else []
    return remarks


def report(
    study: StudyName,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="File. (default: paredown-out/STUDY/report.html)")
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Write one self-contained page: front, hypervolume, knobs that matter, all models with their changes."""
    typer.echo(f"report  {relative(open_study(storage, study).report(out))}")


def predict(
    model_dir: Annotated[Path, typer.Argument(help="Folder of an exported model.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")],
    as_json: AsJson = False,
) -> None:
    """Run an exported model on images."""
    from paredown.studies.prediction import predict_images

    results = predict_images(model_dir, images)
    if as_json:
        print_json({"model": str(model_dir), "predictions": results})
        return
    print_table(
        ["image", "class", "probability"],
        [[r["image"], r["class"], f"{r['top'][0]['probability']:.3f}"] for r in results],
    )
