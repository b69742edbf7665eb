"""The command `paredown`.

Nothing heavy is imported here: each command imports what it needs when it runs.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from paredown.search.cli.bench import bench
from paredown.search.cli.compress import compress
from paredown.search.cli.exit_codes import DONE, STOPPED, InterruptibleGroup, run_command
from paredown.search.cli.families import families
from paredown.search.cli.options import DEFAULT_STORAGE, AsJson, Format, Storage, StudyName, open_study
from paredown.search.cli.output import (
    front_document,
    print_csv,
    print_json,
    print_models,
    print_refused,
    print_table,
    progress_console,
    relative,
)
from paredown.search.cli.schema import schema
from paredown.search.cli.sensitivity import sensitivity
from paredown.search.cli.studies import show, studies
from paredown.search.cli.unpack import unpack
from paredown.search.errors import ConfigError
from paredown.studies.exporters.catalogue import DEFAULT_FORMAT, exporter_named

app = typer.Typer(
    cls=InterruptibleGroup,
    help="Search architecture and compression together; get a Pareto front of small, fast, exported models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(bench, name="bench")
app.command()(families)
app.command()(schema)
app.command()(unpack)


@app.command()
def search(
    study_file: Annotated[
        Path | None, typer.Argument(metavar="[STUDY.yaml]", help="Study file; none: the digits.")
    ] = None,
    study: Annotated[str | None, typer.Option(help="Name of the study, instead of the file's.")] = None,
    trials: Annotated[int | None, typer.Option(help="Finished trials that the study shall have.")] = None,
    timeout: Annotated[str | None, typer.Option(help="Stop after this time, e.g. 10m or 8h.")] = None,
    workers: Annotated[str | None, typer.Option(help="Processes, or auto: one a core.")] = None,
    driver: Annotated[str | None, typer.Option(help="local or ray.")] = None,
    ray_address: Annotated[str | None, typer.Option(help="Of a Ray cluster; none: this machine.")] = None,
    sampler: Annotated[str | None, typer.Option(help="A name of docs/samplers.md, or package.module:name.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of sampler and training.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for models and report. [paredown-out/STUDY]")] = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Run or continue a study; the same command goes on where it was stopped."""
    from paredown.search import run
    from paredown.search.cli.progress import ProgressDisplay
    from paredown.search.study_file.schema import read_config
    from paredown.search.study_file.setup import set_up
    from paredown.studies.exporting import finish
    from paredown.studies.selection import best_models

    given = {
        "study": study,
        "trials": trials,
        "timeout": timeout,
        "workers": int(workers) if workers and workers.isdigit() else workers,
        "driver": driver,
        "sampler": sampler,
        "seed": seed,
    }
    config = read_config(study_file, given)
    if config.weights and not config.training.epochs:
        typer.echo(f"{config.weights}: the network starts trained; training.epochs is 0, fine-tuning follows", err=True)
    where = str(study_file) if study_file else "default study"
    folder = study_file.parent if study_file else Path()
    console = progress_console()
    with console.status("loading the task"):
        setup = set_up(config, where, folder, out or Path("paredown-out", config.study))
    options = {} if ray_address is None else {"address": ray_address}
    summary = run.search(setup, storage, listener=ProgressDisplay(console), where=where, driver_options=options)
    opened = summary.study
    if opened.baseline() is None:
        console.print(f"{summary.reason}; no trial has finished yet")
        raise typer.Exit(STOPPED)
    with console.status("exporting the front"):
        finished = finish(opened)
    if as_json:
        document = front_document(opened) | {
            "reason": summary.reason,
            "counts": opened.counts(),
            "exported": [str(path) for path in finished.folders],
            "refused": [str(reason) for reason in finished.refused],
            "report": str(finished.report),
            "seconds": {"wall": round(summary.wall_s, 2), "outside_trials": round(summary.overhead_s, 3)},
        }
        print_json(document)
    else:
        print_models(opened, best_models(opened))
        for path in finished.folders:
            typer.echo(f"model   {relative(path)}")
        typer.echo(f"report  {relative(finished.report)}")
    print_refused(finished.refused)
    console.print(f"{summary.reason}. Next: paredown select {opened.name} --max size_bytes=60k", markup=False)
    raise typer.Exit(STOPPED if summary.interrupted else DONE)


app.command()(compress)
app.command()(sensitivity)
app.command()(studies)
app.command()(show)


@app.command()
def front(
    study: StudyName,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
) -> None:
    """Show the Pareto front, with the change of each metric against the baseline."""
    from paredown.studies.selection import best_models

    opened = open_study(storage, study)
    if as_json:
        print_json(front_document(opened))
    elif as_csv:
        print_csv(front_document(opened)["models"])
    else:
        print_models(opened, best_models(opened))


@app.command()
def select(
    study: StudyName,
    most: Annotated[
        list[str] | None, typer.Option("--max", help="METRIC=VALUE, e.g. size_bytes=60k", metavar="LIMIT")
    ] = None,
    least: Annotated[
        list[str] | None, typer.Option("--min", help="METRIC=VALUE, e.g. accuracy=0.95", metavar="LIMIT")
    ] = None,
    export_to: Annotated[Path | None, typer.Option("--export", help="Also export the model into this folder.")] = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Choose the best model that keeps the limits: the highest first objective, ties by the next."""
    from paredown.search.cli.limits import read_limits
    from paredown.studies.selection import select as choose
    from paredown.studies.summary import model_summary

    limits = read_limits(most or [], least or [])
    opened = open_study(storage, study)
    model = choose(opened.models(), opened.optimised_metrics, limits)
    summary = model_summary(model, opened.baseline(), opened.folder)
    shown = {o.metric.name: o.limit for o in limits}
    if export_to is not None:
        from paredown.studies.exporting import export_chosen

        with progress_console().status("exporting"):
            summary["exported"] = str(export_chosen(opened, [model], export_to).folders[0])
    if as_json:
        print_json({"study": study, "limits": shown, "model": summary})
        return
    print_models(opened, [model])
    typer.echo(f"candidate  {model.candidate}")
    if export_to is None:
        typer.echo(f"export it: paredown export {study} --trial {model.trial}")
    else:
        typer.echo(f"model      {summary['exported']}")


@app.command()
def export(
    study: StudyName,
    whole_front: Annotated[bool, typer.Option("--front", help="Export every model of the front.")] = False,
    trial: Annotated[list[int] | None, typer.Option(help="Number of a trial; may be repeated.")] = None,
    format_name: Format = DEFAULT_FORMAT,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder. [paredown-out/STUDY/models]")] = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Write models as folders: the file, a manifest and a card; each is verified against its network."""
    from paredown.studies.exporting import export_chosen
    from paredown.studies.selection import best_models, chosen_among

    exporter_named(format_name, "--format")
    if not whole_front and not trial:
        raise ConfigError("say which models: --front, or --trial N")
    opened = open_study(storage, study)
    models = best_models(opened) if whole_front else []
    models += [m for m in chosen_among(opened.models(), trial or []) if m not in models]
    if not models:
        raise ConfigError(f"study {study!r} has no finished model yet; run `paredown search` first")
    with progress_console().status("exporting"):
        exported = export_chosen(opened, models, out or Path(opened.folder, "models"), format_name)
    print_refused(exported.refused)
    if as_json:
        print_json({"study": study, "exported": [str(path) for path in exported.folders]})
        return
    for path in exported.folders:
        typer.echo(f"model   {relative(path)}")


@app.command()
def report(
    study: StudyName,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="File. [paredown-out/STUDY/report.html]")] = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Write one self-contained page: front, hypervolume, knobs that matter, all models with their changes."""
    from paredown.studies.report import write_report

    opened = open_study(storage, study)
    file = out or Path(opened.folder, "report.html")
    write_report(opened, file)
    typer.echo(f"report  {relative(file)}")


@app.command()
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


@app.command()
def retry(study: StudyName, storage: Storage = DEFAULT_STORAGE) -> None:
    """Put the failed trials of a study first in line for the next search."""
    from paredown.search.study_file.stored import stored_space

    opened = open_study(storage, study)
    count = opened.retry(stored_space(opened.config).values)
    typer.echo(f"{count} failed trials are in line; the next `paredown search` of {study!r} runs them")


def main(command: Callable[[], Any] = app) -> None:
    """Run the command line; see `paredown.search.cli.exit_codes` for how it may end."""
    # Read when torch is loaded, which is later. Threads that spin while they wait for one that another process holds up
    # took ten times the processor time where all cores were busy; those that sleep, a third more.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    run_command(command)
