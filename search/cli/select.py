"""The command `select`: the model of a study that fits a target, and why it is this one."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paredown.search.cli.options import DEFAULT_STORAGE, AsJson, DeviceFormat, Storage, StudyName, open_study
from paredown.search.cli.output import print_json, print_models, print_table, progress_console
from paredown.search.errors import ConfigError

if TYPE_CHECKING:  # --help must not load what reads studies
    from paredown.evaluators.devices.profile import DeviceProfile
    from paredown.evaluators.metrics.measurement import Objective
    from paredown.search.api.study import Study
    from paredown.studies.choice import Choice
    from paredown.studies.device_models import DeviceModels
    from paredown.studies.front import Model

OPTIONS = ("--max", "--min")
SHOWN_COSTS = ("ram_bytes", "flash_bytes", "device_latency_ms")
"""Costs on a device that the matrix shows beside the objectives of the study and the energy."""


def select(
    study: StudyName,
    most: Annotated[
        list[str] | None,
        typer.Option("--max", help="Largest value allowed: METRIC=VALUE, e.g. size_bytes=60k", metavar="LIMIT"),
    ] = None,
    least: Annotated[
        list[str] | None,
        typer.Option("--min", help="Smallest value allowed: METRIC=VALUE, e.g. accuracy=0.95", metavar="LIMIT"),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="Keep the memory and number formats of a device; `paredown device list` lists them."),
    ] = None,
    all_devices: Annotated[
        bool, typer.Option("--all-devices", help="Show the best model for each device; nothing is trained again.")
    ] = False,
    by: Annotated[
        str, typer.Option(help="Which one is best: first (the first objective, then the next), knee, or weights.")
    ] = "first",
    weight: Annotated[
        list[str] | None,
        typer.Option(help="With --by weights: METRIC=WEIGHT; may be repeated.", metavar="METRIC=WEIGHT"),
    ] = None,
    export_to: Annotated[Path | None, typer.Option("--export", help="Also export the model into this folder.")] = None,
    format_name: DeviceFormat = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Choose the best model that keeps the limits, and say which limit binds, what comes next, what more would buy."""
    from paredown.search.api.limits import limits_of
    from paredown.studies.choice import ORDERS, choose
    from paredown.studies.device_models import baseline_on
    from paredown.studies.exporters.catalogue import exporter_named
    from paredown.studies.latency_remarks import Fp32Models
    from paredown.studies.summary import model_summary

    if by not in ORDERS:
        raise ConfigError(f"--by {by}: does not exist; allowed: {', '.join(ORDERS)}")
    largest, smallest = pairs(most, "--max"), pairs(least, "--min")
    if format_name is not None:
        exporter_named(format_name, "--format")
    opened = open_study(storage, study)
    limits = limits_of(largest, smallest, opened.baseline, OPTIONS)
    weights = _weights(opened, weight, by)
    if all_devices:
        if device is not None or export_to is not None:
            raise ConfigError("--all-devices: shows every device; leave out --device and --export")
        _matrix(opened, limits, by, weights, as_json)
        return
    seen = _on(opened, device) if device is not None else None
    models: Sequence[Model] = seen.models if seen else opened.models
    if seen is not None and not models:
        raise ConfigError(_none_runs(seen))
    limits = seen.limits_with(limits) if seen else limits
    choice = choose(models, opened.stored.objectives, limits, by, weights)
    baseline = opened.baseline if seen is None else baseline_on(opened.stored, seen.profile)
    summary = model_summary(choice.model, baseline, str(opened.folder), Fp32Models(opened.models))
    if export_to is not None:
        with progress_console().status("exporting"):
            exported = opened.export(choice.model.trial, export_to, format=format_name, device=device)
            summary["exported"] = str(exported[0])
    if as_json:
        print_json(_document(study, device, limits, summary, choice, seen))
        return
    _print(opened, choice, limits, seen, baseline)
    if export_to is None:
        made_for = (f" --device {device}" if device else "") + (f" --format {format_name}" if format_name else "")
        typer.echo(f"export it: paredown export {study} --trial {choice.model.trial}{made_for}")
    else:
        typer.echo(f"model      {summary['exported']}")


def pairs(texts: Sequence[str] | None, option: str) -> dict[str, str]:
    """Return metric and value of each `METRIC=VALUE`."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, sign, value = text.partition("=")
        if not sign:
            raise ConfigError(f"{option} {text}: write it as METRIC=VALUE, e.g. size_bytes=60k")
        if name in found:
            raise ConfigError(f"{option} {text}: {option} {name}={found[name]} stands there too; leave one out")
        found[name] = value
    return found


def _weights(opened: "Study", texts: Sequence[str] | None, by: str) -> dict[str, float]:
    if bool(texts) != (by == "weights"):
        raise ConfigError("--weight: belongs to --by weights, which needs at least one, e.g. --weight accuracy=2")
    names = [metric.name for metric in opened.stored.optimised_metrics]
    weights = {}
    for name, value in pairs(texts, "--weight").items():
        if name not in names:
            raise ConfigError(f"--weight {name}={value}: {name} is no objective; allowed: {', '.join(names)}")
        try:
            weights[name] = float(value)
        except ValueError:
            raise ConfigError(f"--weight {name}={value}: {value!r} is no number") from None
        if not 0 <= weights[name] < float("inf"):
            raise ConfigError(f"--weight {name}={value}: not allowed; allowed: 0 or more")
    return weights


def _on(opened: "Study", device: str) -> "DeviceModels":
    from paredown.evaluators.devices.catalogue import device_profile

    return _looked_at(opened, device_profile(device, "--device"))


def _looked_at(opened: "Study", profile: "DeviceProfile") -> "DeviceModels":
    from rich.progress import Progress

    from paredown.studies.device_models import candidates, on_device

    models = candidates(opened.stored)
    console = progress_console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(profile.id, total=len(models))
        return on_device(opened.stored, profile, models, lambda: progress.advance(task))


def _none_runs(seen: "DeviceModels") -> str:
    reasons = list(dict.fromkeys(seen.refused.values()))
    return f"--device {seen.profile.id}: it runs none of {len(seen.refused)} models: {'; '.join(reasons[:3])}"


def _print(
    opened: "Study",
    choice: "Choice",
    limits: Sequence["Objective"],
    seen: "DeviceModels | None",
    baseline: "Model | None",
) -> None:
    print_models(opened, [choice.model], baseline)
    typer.echo(f"candidate  {choice.model.candidate}")
    if seen is not None:
        typer.echo(f"device     {seen.profile.id}: {seen.profile.name}, {seen.profile.engine}")
    for limit in limits:
        measured = choice.model.measurements[limit.metric.name]
        by = f", by {measured.device}" if measured.device and seen else ""
        sign = ">=" if limit.metric.higher_is_better else "<="
        typer.echo(
            f"{limit.metric.name:<10} {limit.metric.with_unit(measured.value)}, limit {sign} {limit.limit:g}, "
            f"{measured.how}{by}"
        )
    latency = choice.model.measurements.get("device_latency_ms")
    if latency is not None and seen is not None and "device_latency_ms" in seen.told:
        narrows = "" if seen.profile.latency_predictor else "; `paredown device calibrate` narrows it"
        typer.echo(f"latency    {latency.note}, predicted, 90 % interval{narrows}")
    energy = choice.model.measurements.get("device_energy_uj")
    if energy is not None and seen is not None and "device_energy_uj" in seen.told:
        typer.echo(f"energy     {energy.note}, predicted, 90 % interval")
    for line in _reasons(opened, choice, seen):
        typer.echo(line)


def _reasons(opened: "Study", choice: "Choice", seen: "DeviceModels | None") -> list[str]:
    first = opened.stored.optimised_metrics[0]
    lines = [f"fits       {choice.fitting} of {choice.considered + (len(seen.refused) if seen else 0)} models"]
    if choice.next_best is not None:
        differences = ", ".join(
            f"{m.name} {m.format_change(choice.next_best[m.name], choice.model[m.name])}"
            for m in opened.stored.optimised_metrics
        )
        lines.append(f"next best  trial {choice.next_best.trial}: {differences}")
    for binding in choice.binding:
        name = binding.limit.metric.name
        gain = first.format_change(binding.model[first.name], choice.model[first.name])
        lines.append(
            f"binding    {name}: {binding.limit.metric.with_unit(binding.model[name])} ({binding.excess:+.0%}) would "
            f"allow trial {binding.model.trial}, {first.name} {gain}"
        )
    if not choice.binding:
        lines.append(f"binding    none: no limit keeps out a model with a better {first.name}")
    return lines


def _document(
    study: str,
    device: str | None,
    limits: Sequence["Objective"],
    summary: dict[str, Any],
    choice: "Choice",
    seen: "DeviceModels | None",
) -> dict[str, Any]:
    found: dict[str, Any] = {"study": study, "limits": {o.metric.name: o.limit for o in limits}, "model": summary}
    found["next_best"] = choice.next_best.trial if choice.next_best else None
    found["binding"] = [
        {
            "metric": b.limit.metric.name,
            "trial": b.model.trial,
            "value": b.model[b.limit.metric.name],
            "excess": b.excess,
        }
        for b in choice.binding
    ]
    if seen is not None:
        refused = [{"trial": trial, "reason": reason} for trial, reason in seen.refused.items()]
        found["device"] = {"device": device, "refused": refused}
    return found


def _matrix(opened: "Study", limits: Sequence["Objective"], by: str, weights: dict[str, float], as_json: bool) -> None:
    """Print the best model for each device of the catalogue."""
    from paredown.evaluators.devices.catalogue import device_ids, device_profile
    from paredown.studies.choice import choose
    from paredown.studies.device_models import energy_on
    from paredown.studies.errors import NothingFits

    objectives, rows, found = opened.stored.objectives, [], []
    names = list(dict.fromkeys([*(m.name for m in opened.stored.optimised_metrics), *SHOWN_COSTS]))
    for name in device_ids():
        seen = _looked_at(opened, device_profile(name))
        document: dict[str, Any] = {"device": name, "trial": None, "metrics": {}, "reason": "", "energy": None}
        try:
            model = choose(seen.models, objectives, seen.limits_with(limits), by, weights).model
        except NothingFits as error:
            document["reason"] = str(error) if seen.models else _none_runs(seen).partition(": ")[2]
        else:
            document |= {"trial": model.trial, "metrics": {key: m.value for key, m in model.measurements.items()}}
            document["energy"] = energy_on(opened.stored, seen.profile, model)
        found.append(document)
        rows.append(_matrix_row(names, document))
    if as_json:
        print_json({"study": opened.name, "devices": found})
        return
    print_table(["device", "trial", *names, "energy", "reason"], rows)


def _matrix_row(names: Sequence[str], document: dict[str, Any]) -> list[str]:
    from paredown.evaluators.devices.energy import energy_text
    from paredown.evaluators.metrics.catalogue import known_metrics

    metrics, values = known_metrics(), document["metrics"]
    cells = [metrics[name].format(values[name]) if name in values and name in metrics else "" for name in names]
    trial = "" if document["trial"] is None else str(document["trial"])
    return [document["device"], trial, *cells, energy_text(document["energy"]), document["reason"]]
