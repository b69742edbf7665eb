"""The command `compress`: one network, no search."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paredown.search.cli.exit_codes import fail
from paredown.search.cli.options import AsJson, Format
from paredown.search.cli.output import print_json, print_table, progress_console, relative
from paredown.search.cli.stop_signals import STOPPED
from paredown.studies.exporters.catalogue import DEFAULT_FORMAT, exporter_named

if TYPE_CHECKING:  # for annotations alone: it loads torch, and --help must not
    from paredown.search.one_network.compress import Compression

ModelName = Annotated[
    str, typer.Option(help="A network such as resnet20, a family such as mbconv, or package.module:function.")
]
TASKS_HELP = "digits, image_folder:PATH, python:package.module:function or arrays:FILE.npz."
TaskName = Annotated[str, typer.Option(help=TASKS_HELP)]
Weights = Annotated[
    str | None, typer.Option(help="Trained weights of a package.module:function: .safetensors or a state dict.")
]
Epochs = Annotated[int | None, typer.Option(help="Epochs of training. (default: 20; 0 with --weights)")]
Resolution = Annotated[int | None, typer.Option(help="Side of the images, in pixels. (default: the network's own)")]
Seed = Annotated[int, typer.Option(help="Random seed.")]


def compress(
    model: ModelName,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the exported model.")],
    task: TaskName = "digits",
    step: Annotated[
        list[str] | None,
        typer.Option(help="A compression step, e.g. channel_pruning:ratio=0.5; any number of them.", metavar="STEP"),
    ] = None,
    weights: Weights = None,
    epochs: Epochs = None,
    finetune_epochs: Annotated[
        int | None, typer.Option(help="Epochs of fine-tuning after structural steps. (default: 8)")
    ] = None,
    resolution: Resolution = None,
    seed: Seed = 0,
    skip: Annotated[
        list[str] | None,
        typer.Option(help="Leave layers alone, e.g. 'head' or 'stages.0.*'; any number of them.", metavar="PATTERN"),
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="Let layers keep their shape; any number of them.", metavar="PATTERN")
    ] = None,
    format_name: Format = DEFAULT_FORMAT,
    as_json: AsJson = False,
) -> None:
    """Train or load one network, compress it, fine-tune it, export it, and compare before with after."""
    with progress_console().status("loading"):
        from paredown.search.api.compression import compress as compressed
        from paredown.search.one_network.step_arguments import read_steps

    exporter_named(format_name, "--format")
    steps = read_steps(step or [])
    try:
        done = compressed(
            model,
            task=task,
            steps=steps,
            out=out,
            weights=weights,
            resolution=resolution,
            epochs=epochs,
            finetune_epochs=finetune_epochs,
            seed=seed,
            format=format_name,
            skip=skip or (),
            keep=keep or (),
        )
    except KeyboardInterrupt:
        fail("stopped; nothing was written", STOPPED)
    if as_json:
        print_json({"model": model, "task": task, **document(done)})
    else:
        _print(done)
        typer.echo(f"model   {relative(done.folder)}")


def given(**keys: Any) -> dict[str, Any]:
    """Return the options that were given."""
    return {key: value for key, value in keys.items() if value is not None}


def document(done: "Compression") -> dict[str, Any]:
    """Return a compression as plain data."""
    from paredown.studies.front import deltas, faster_on_paper_only
    from paredown.studies.latency_remarks import Fp32Models, faster_in_fp32, is_noisy

    return {
        "candidate": done.model.candidate.to_json(),
        "before": {name: m.value for name, m in done.baseline.measurements.items()},
        "after": {name: m.value for name, m in done.model.measurements.items()},
        "spreads": {name: m.spread for name, m in done.model.measurements.items() if m.spread},
        "deltas": deltas(done.model, done.baseline),
        "slower_than_macs_suggest": faster_on_paper_only(done.model, done.baseline),
        "latency_noisy": is_noisy(done.model),
        "int8_slower_than_fp32": faster_in_fp32(done.model, Fp32Models([done.baseline])) is not None,
        "skipped": {step: dict(layers) for step, layers in done.skipped.items()},
        "notes": dict(done.notes),
        "seconds": dict(done.seconds),
        "exported": str(done.folder),
    }


def _print(done: "Compression") -> None:
    from paredown.evaluators.metrics.catalogue import known_metrics
    from paredown.search.api.model_table import coloured_change
    from paredown.studies.front import faster_on_paper_only
    from paredown.studies.latency_remarks import Fp32Models, faster_in_fp32, is_noisy

    rows = []
    for name, metric in known_metrics().items():
        if name not in done.model.measurements:
            continue
        after = metric.format(done.model[name])
        if name in done.baseline.measurements:
            before = done.baseline[name]
            rows.append([name, metric.format(before), after, coloured_change(metric, done.model[name], before)])
        else:  # such as `exit_rate`: before, there are no exits
            rows.append([name, "-", after, ""])
    print_table(["", "before", "after", "change"], rows, markup=True)
    if faster_on_paper_only(done.model, done.baseline):
        typer.echo("fewer MACs, but not measurably faster on this machine")
    if faster_in_fp32(done.model, Fp32Models([done.baseline])):
        typer.echo("int8 is slower than fp32 on this machine")
    if is_noisy(done.model):
        typer.echo("the latency is noisy: half of its interval is more than 10 % of it; measure again")
    for name, note in done.notes.items():
        typer.echo(f"{name}: {note}")
    for step, layers in done.skipped.items():
        for reason in dict.fromkeys(layers.values()):
            names = [name for name, said in layers.items() if said == reason]
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            typer.echo(f"{step} left alone: {', '.join(names[:3])}{more}: {reason}")
