"""Notes of the dashboard, as Markdown: the card of each model on the front, and a summary of the study."""

from collections.abc import Sequence
from pathlib import Path

from paredown.evaluators.files.names import CARD_FILE
from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.evaluators.metrics.measurement import Metric
from paredown.studies.exporters.catalogue import folder_name
from paredown.studies.front import Model
from paredown.studies.records import Records

MAX_LISTED = 30
"""Maximum number of models in the table of a study's note."""
MAX_CARD_BYTES = 64_000


def model_note(study: Records, model: Model, baseline: Model | None) -> str:
    """Return the card that was exported with a model or, before it is exported, its metrics against the baseline."""
    card = Path(study.folder, "models", folder_name(model), CARD_FILE)
    if card.is_file() and card.stat().st_size <= MAX_CARD_BYTES:
        return card.read_text(errors="replace")
    known = [metric for metric in known_metrics().values() if metric.name in model.measurements]
    return "\n".join(
        [
            f"# {study.name}, trial {model.trial}",
            "",
            "| metric | this model | baseline | change |",
            "|---|---:|---:|---:|",
            *(f"| {metric.name} | {' | '.join(_cells(metric, model, baseline))} |" for metric in known),
            "",
            f"`{model.candidate}`",
            "",
            f"Not exported yet: `paredown export {study.name} --trial {model.trial}` checks it and writes its folder.",
        ]
    )


def study_attributes(study: Records, best: Sequence[Model]) -> dict[str, str]:
    """Return what the study has come to, each part under its name."""
    limits = [
        f"{o.metric.name} {'at least' if o.metric.higher_is_better else 'at most'} {o.metric.format(o.limit)}"
        for o in study.objectives
        if o.limit is not None
    ]
    return {
        "trials": ", ".join(f"{count} {state}" for state, count in study.counts().items()) or "none",
        "limits": ", ".join(limits) or "none",
        "front": f"{len(best)} models that no other one beats and that keep every limit",
        "folder": study.folder,
    }


def study_note(study: Records, best: Sequence[Model], baseline: Model | None) -> str:
    """Return what the study has come to: its trials, its limits and its front."""
    about = study_attributes(study, best)
    lines = [line for name, text in about.items() for line in (f"**{name.capitalize()}:** {text}", "")]
    if baseline is None:
        return "\n".join([*lines, "The baseline has not finished yet: nothing can be compared."])
    metrics = study.optimised_metrics
    lines += [
        f"Changes are from the baseline, trial {baseline.trial}.",
        "",
        f"| trial | {' | '.join(metric.name for metric in metrics)} |",
        f"|---:|{'---:|' * len(metrics)}",
        f"| {baseline.trial} (baseline) | {' | '.join(metric.format(baseline[metric.name]) for metric in metrics)} |",
    ]
    for model in [model for model in best if model.trial != baseline.trial][:MAX_LISTED]:
        cells = (
            f"{metric.format(model[metric.name])} ({metric.format_change(model[metric.name], baseline[metric.name])})"
            for metric in metrics
        )
        lines.append(f"| {model.trial} | {' | '.join(cells)} |")
    if len(best) > MAX_LISTED:
        lines += ["", f"The table shows {MAX_LISTED} of them; `paredown front {study.name}` shows all."]
    return "\n".join(lines)


def _cells(metric: Metric, model: Model, baseline: Model | None) -> list[str]:
    found = model.measurements[metric.name]
    value = metric.format(found.value, found.spread)
    if baseline is None or metric.name not in baseline.measurements:
        return [value, "", ""]
    reference = baseline[metric.name]
    return [value, metric.format(reference), metric.format_change(found.value, reference)]
