"""The card of an exported model: its manifest for people, as Markdown."""

import json
from typing import Any

from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.evaluators.metrics.measurement import Metric
from paredown.studies.exporters.exporter import Exporter, Manifest


def card(manifest: Manifest, exporter: Exporter) -> str:
    """Return the text of the card."""
    lines = [
        f"# {manifest['study']}, trial {manifest['trial']}",
        "",
        f"An image classifier with {len(manifest['classes'])} classes, found by Paredown "
        f"{manifest['versions']['paredown']} and exported as {exporter.description}.",
        "",
        "| metric | this model | baseline | change |",
        "|---|---:|---:|---:|",
    ]
    known, before = known_metrics(), manifest["baseline"]["metrics"]
    lines += [_row(known[n], found, before.get(n)) for n, found in manifest["metrics"].items() if n in known]
    if manifest["slower_than_macs_suggest"]:
        lines += ["", "**Note:** it needs fewer MACs than the baseline, but is not measurably faster on this device."]
    if manifest["int8_slower_than_fp32"]:
        lines += ["", "**Note:** the same architecture in fp32 was measurably faster on this device."]
    if manifest["latency_noisy"]:
        lines += ["", "**Note:** the latency is noisy: half of its interval is more than 10 % of it."]
    if limits := [limit["text"] for limit in manifest["limits"].values()]:
        lines += ["", f"Limits of the study: {', '.join(limits)}."]
    device = manifest["metrics"].get("latency_ms", {}).get("device", "")
    parity, preprocessing, takes = manifest["parity"], manifest["preprocessing"], manifest["input"]
    lines += [
        "",
        "± is half of the 95 % confidence interval. `accuracy` is on the validation images that guided the search, "
        "`test_accuracy` on images it never saw.",
        *([] if exporter.is_trial_file else [_measured_elsewhere(exporter)]),
        f"Latency: batch 1 on {device}." if device else "",
        "",
        "## Use",
        "",
        "```",
        f"paredown predict . {'image.png' if takes['dtype'] == 'uint8' else 'input.npy'}",
        "```",
        "",
        f"Input `image`: {preprocessing['layout']}, {preprocessing['mode']}, {takes['height']} x "
        f"{takes['width']} pixels ({preprocessing['resize']}; {preprocessing['scale']}; mean "
        f"{preprocessing['mean']}, std {preprocessing['std']}). Output `logits`, one a class: "
        f"{', '.join(manifest['classes'][:20])}{', ...' if len(manifest['classes']) > 20 else ''}.",
        *exporter.card(manifest),
        "",
        "## Origin",
        "",
        f"`{manifest['model_file']}` and PyTorch agree on {parity['label_agreement']:.2%} of {parity['images']} "
        f"validation images; largest difference of a logit {parity['max_abs_error']:.3g}.",
        "",
        "```json",
        json.dumps(manifest["candidate"], indent=2),
        "```",
        "",
        *_left_alone(manifest["skipped"]),
    ]
    return "\n".join(lines)


def _row(metric: Metric, found: dict[str, Any], reference: float | None) -> str:
    before, change = "", ""
    if reference is not None:
        before, change = metric.format(reference), metric.format_change(found["value"], reference)
        if (comparison := metric.compare(found["value"], reference)) != "same":
            change += f" ({comparison})"
    return (
        f"| {metric.name} ({found['how']}) | {metric.format(found['value'], found['spread'])} | {before} | {change} |"
    )


def _measured_elsewhere(exporter: Exporter) -> str:
    return (
        f"`accuracy`, `test_accuracy` and what a device is told to cost are of `{exporter.model_file}`, all other "
        "metrics of the file that the search measured, which is of another format."
    )


def _left_alone(skipped: dict[str, dict[str, str]]) -> list[str]:
    """Return the reasons why steps left layers alone, each with the layers it holds for."""
    if not skipped:
        return []
    lines = ["Layers that a step left alone (each one is named in `manifest.json`):", ""]
    for step, layers in skipped.items():
        for reason in dict.fromkeys(layers.values()):
            names = [name for name, said in layers.items() if said == reason]
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            lines.append(f"- {step}: {', '.join(f'`{name}`' for name in names[:3])}{more}: {reason}")
    return [*lines, ""]
