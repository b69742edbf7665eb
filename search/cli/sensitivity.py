"""The command `sensitivity`: what each layer costs when it alone is compressed."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paredown.search.cli.compress import Epochs, Resolution, Seed, TaskName, Weights, given
from paredown.search.cli.exit_codes import fail
from paredown.search.cli.options import DEFAULT_STORAGE, AsJson, Storage, open_study
from paredown.search.cli.output import fits, print_json, print_table, progress_console, relative
from paredown.search.cli.stop_signals import STOPPED
from paredown.search.errors import ConfigError

if TYPE_CHECKING:  # for annotations alone: these load torch, and --help must not
    from torch import nn

    from paredown.evaluators.training.data import TrainingData
    from paredown.evaluators.training.fit import OnEpoch
    from paredown.search.one_network.sensitivity import SensitivityMap
    from paredown.studies.study import Study

FILE = "sensitivity.json"
"""Name of the map's file in the study's folder."""


def sensitivity(
    out: Annotated[Path, typer.Option("-o", "--out", help="Page to write; a .json is written beside it.")],
    model: Annotated[
        str | None,
        typer.Option(help="As in `paredown compress`; without it the baseline of --study."),
    ] = None,
    task: TaskName = "digits",
    study: Annotated[
        str | None, typer.Option(help="Study that the map is stored in, too: in its database and its folder.")
    ] = None,
    weights: Weights = None,
    epochs: Epochs = None,
    resolution: Resolution = None,
    seed: Seed = 0,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Show how much accuracy each layer costs by method and strength, as a heat map."""
    if out.suffix.lower() not in {".html", ".htm"} or out.is_dir():
        raise ConfigError(f"--out: {out} is not allowed; allowed: a file that ends in .html")
    if model is None and study is None:
        raise ConfigError("say which network: --model, or --study for the baseline of a study")
    opened = None if study is None else open_study(storage, study).stored
    console = progress_console()
    try:
        with console.status("loading"):
            from rich.markup import escape

            from paredown.search.api.data_display import reading_data
            from paredown.search.one_network.compress import check_parents
            from paredown.search.one_network.sensitivity import store
            from paredown.search.one_network.sensitivity_page import write_page
        check_parents(out)
        with console.status(f"{escape(str(model or study))}: loading") as status, reading_data(console, status):

            def on_epoch(epoch: int, metrics: dict[str, float]) -> str:
                status.update(f"{escape(str(model))}: epoch {epoch + 1}, validation accuracy {metrics['accuracy']:.4f}")
                return ""

            if model is None and opened is not None:
                name, (network, data) = f"{study}, trial 0", _baseline_of(opened)
            else:
                network, data = _trained(str(model), task, given(epochs=epochs), weights, resolution, seed, on_epoch)
                name = f"{model} on {task}"
        found = _measured(network, data, name)
    except KeyboardInterrupt:
        fail("stopped; nothing was written", STOPPED)
    write_page(found, f"Sensitivity of {name}", out)
    files = [out.with_suffix(".json")] + ([Path(opened.folder, FILE)] if opened is not None else [])
    for file in files:
        store(found, file)
    if opened is not None:
        opened.keep_sensitivity({"network": name, "map": found.to_json()})
    if as_json:
        print_json({"model": name, "page": str(out), "files": [str(file) for file in files], **found.to_json()})
        return
    _print(found)
    for file in (out, *files):
        typer.echo(f"map     {relative(file)}")


def _trained(
    model: str,
    task: str,
    training: dict[str, int],
    weights: str | None,
    resolution: int | None,
    seed: int,
    on_epoch: "OnEpoch",
) -> "tuple[nn.Module, TrainingData]":
    from paredown.evaluators.build import rebuild
    from paredown.evaluators.files.names import WEIGHTS_FILE
    from paredown.evaluators.training.data import TrainingData
    from paredown.search.one_network.setup import finished, set_up_single
    from paredown.spaces.families.family import longer_side

    with tempfile.TemporaryDirectory(prefix="paredown-") as work:
        setup = set_up_single(
            model, task, Path(work), weights=weights, resolution=resolution, seed=seed, training=training
        )
        trained, _ = finished(setup.space.baseline, setup.plan, 0, on_epoch)
        network, shape = rebuild(trained.candidate, setup.task, Path(work, trained.artifact, WEIGHTS_FILE))
    return network, TrainingData.of(setup.task, longer_side(shape))


def _baseline_of(study: "Study") -> "tuple[nn.Module, TrainingData]":
    from paredown.evaluators.build import rebuild
    from paredown.evaluators.files.names import WEIGHTS_FILE
    from paredown.evaluators.tasks.spec import stored_task
    from paredown.evaluators.training.data import TrainingData
    from paredown.spaces.families.family import longer_side

    baseline = study.baseline()
    if baseline is None:
        raise ConfigError(f"study {study.name!r} has no finished baseline yet; run `paredown search` first")
    file, task = Path(study.folder, baseline.artifact, WEIGHTS_FILE), stored_task(study.config)
    if not file.is_file():
        raise ConfigError(f"study {study.name!r}: {file} is gone")
    network, shape = rebuild(baseline.candidate, task, file)
    return network, TrainingData.of(task, longer_side(shape))


def _measured(network: "nn.Module", data: "TrainingData", name: str) -> "SensitivityMap":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from paredown.search.one_network.sensitivity import count, measure

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=progress_console()) as progress:
        bar = progress.add_task(name, total=count(network))
        return measure(network, data, lambda layer: progress.update(bar, advance=1, description=layer))


def _print(found: "SensitivityMap") -> None:
    typer.echo(f"accuracy {found.accuracy:.4f} on {found.images} validation images; change in points, by layer:")
    head, rows = _table(found, list(found.strengths))
    tables = [(head, rows)] if fits(head, rows) else [_table(found, [method]) for method in found.strengths]
    for head, rows in tables:
        print_table(head, rows)


def _table(found: "SensitivityMap", methods: list[str]) -> tuple[list[str], list[list[str]]]:
    from paredown.search.one_network.sensitivity import change

    head = [f"{method}\n{strength:g}" for method in methods for strength in found.strengths[method]]
    rows = []
    for layer, weights in found.layers.items():
        cells = []
        for method in methods:
            drops = found.drops[method].get(layer)
            unknown = ["-"] * len(found.strengths[method])
            cells += unknown if drops is None else [change(drop) for drop in drops]
        rows.append([layer, f"{weights:,}", *cells])
    return ["layer", "weights", *head], rows
