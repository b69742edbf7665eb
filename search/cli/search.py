"""The command `search`: runs or continues a study."""

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paredown.search.cli.exit_codes import DONE
from paredown.search.cli.options import DEFAULT_STORAGE, AsJson, Storage
from paredown.search.cli.output import print_front, print_json, print_refused, progress_console, relative
from paredown.search.cli.stop_signals import STOPPED, end_at_once, raise_interrupt
from paredown.search.drivers.process_server import begin_loading

if TYPE_CHECKING:  # --help must not load it
    from collections.abc import Sequence

    from paredown.evaluators.metrics.measurement import Metric
    from paredown.search.api.front import Front


def search(
    study_file: Annotated[
        Path | None, typer.Argument(metavar="[STUDY.yaml]", help="Study file; without one, the digits.")
    ] = None,
    study: Annotated[str | None, typer.Option(help="Name of the study, in place of the file's.")] = None,
    trials: Annotated[int | None, typer.Option(help="Total number of trials.")] = None,
    timeout: Annotated[str | None, typer.Option(help="Time after which the search stops, e.g. 10m or 8h.")] = None,
    until: Annotated[
        str | None, typer.Option(help="Time of day at which the search stops, e.g. 07:00; tomorrow if past.")
    ] = None,
    workers: Annotated[str | None, typer.Option(help="Number of worker processes, or auto for one per core.")] = None,
    driver: Annotated[str | None, typer.Option(help="Where trials run: local or ray.")] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster; without one, Ray starts on this machine.")
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(help="Name of a sampler (docs/samplers.md), or package.module:name.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed.")] = None,
    report_every: Annotated[
        str | None, typer.Option(help="Time after which the report is written anew, e.g. 10m; by default at the end.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for models and report. (default: the study's own, at first paredown-out/STUDY)"),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Run or continue a study; the same command continues where it was stopped."""
    began = time.monotonic()
    end_at_once()
    begin_loading()
    console = progress_console()
    with console.status("loading"):
        from paredown.search.api.run import search_study
        from paredown.search.finishing import finish, grace_end
        from paredown.search.places import losses_as_abort

    given = {
        "study": study,
        "trials": trials,
        "timeout": timeout,
        "until": until,
        "workers": int(workers) if workers and workers.isdigit() else workers,
        "driver": driver,
        "sampler": sampler,
        "seed": seed,
        "report_every": report_every,
    }
    options = {} if ray_address is None else {"address": ray_address}
    asked = {key: value for key, value in given.items() if value is not None}
    ended = search_study(study_file, asked, storage, out, progress=True, driver_options=options, began=began)
    opened, summary = ended.study, ended.summary
    if opened.baseline is None:
        ended.run_finish_hook()
        console.print(f"{summary.reason}; no trial has finished yet", markup=False)
        raise typer.Exit(STOPPED)
    raise_interrupt()  # an export cleans up after itself
    with console.status("exporting the front"), losses_as_abort(opened.stored, opened.folder, storage):
        finished = finish(opened.stored, storage, grace_end(summary.deadline, began))
    ended.run_finish_hook()
    if as_json:
        document = opened.front().to_dict(opened.folder) | {
            "reason": summary.reason,
            "counts": opened.counts,
            "exported": [str(path) for path in finished.folders],
            "refused": [str(reason) for reason in finished.refused],
            "not_exported": list(finished.missing),
            "report": None if finished.report is None else str(finished.report),
            "seconds": {"wall": round(summary.wall_s, 2), "outside_trials": round(summary.overhead_s, 3)},
        }
        print_json(document)
    else:
        print_front(opened)
        for path in finished.folders:
            typer.echo(f"model   {relative(path)}")
        if finished.report is not None:
            typer.echo(f"report  {relative(finished.report)}")
    front = opened.front()
    if as_json and front.remark:
        console.print(front.remark, markup=False, soft_wrap=True)
    print_refused(finished.refused)
    if not finished.is_whole:
        console.print(finished.remark(opened.name, storage), markup=False, soft_wrap=True)
    following = (
        f"front {opened.name}, which shows the nearest models"
        if front.binding
        else f"select {opened.name}{_example(front, opened.stored.optimised_metrics)}"
    )
    console.print(f"{summary.reason}. Next: paredown {following}", markup=False)
    raise typer.Exit(STOPPED if summary.interrupted or not finished.is_whole else DONE)


def _example(front: "Front", metrics: "Sequence[Metric]") -> str:
    """Return an option that narrows the choice to the cheaper half of a front, by its last cost."""
    costs = [metric.name for metric in metrics if not metric.higher_is_better]
    values = sorted(model[costs[-1]] for model in front) if costs else []
    if not values:
        return ""
    middle = values[len(values) // 2]
    rounded = math.ceil(middle) if middle >= 1000 else math.ceil(middle * 1000) / 1000  # up: the model keeps it
    return f" --max {costs[-1]}={rounded}"
