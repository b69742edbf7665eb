"""Which model: limits as sliders, a device, and the answer with the limit that binds."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from paredown.evaluators.devices.catalogue import device_ids
from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.evaluators.metrics.measurement import Measurement, Metric, Objective
from paredown.search.errors import check_name
from paredown.search.service.pages.elements import aria, change, link
from paredown.search.service.pages.place import Place
from paredown.search.service.pages.snapshot import Snapshot, Snapshots
from paredown.search.service.service import Service
from paredown.studies.choice import Choice, choose
from paredown.studies.device_models import limits_with, with_costs
from paredown.studies.errors import NothingFits
from paredown.studies.front import Model
from paredown.studies.queue.job import Job

MAX_SLIDERS = 6
MAX_STOPS = 200
LIMITED_TOO = ("size_bytes", "latency_ms", "ram_bytes", "flash_bytes", "macs", "params")
"""Metrics that get a slider also where they are no objectives."""


@dataclass(frozen=True)
class Stops:
    """Where the slider of a metric stops: at the values of models, and at an end for no limit.

    Attributes:
        metric: The metric.
        values: Values of models in rising order.
    """

    metric: Metric
    values: tuple[float, ...]

    @property
    def open(self) -> int:
        """The stop of no limit: left of all where more is better, right of all otherwise."""
        return 0 if self.metric.higher_is_better else len(self.values)

    def limit(self, stop: int) -> float | None:
        """Return the limit at a stop; None for no limit."""
        at = stop - 1 if self.metric.higher_is_better else stop
        return None if stop == self.open or not 0 <= at < len(self.values) else self.values[at]

    def stop(self, limit: str | None) -> int:
        """Return the stop nearest to a limit of an address; that of no limit where it is none."""
        try:
            wanted = float(limit or "")
        except ValueError:
            return self.open
        at = min(range(len(self.values)), key=lambda at: abs(self.values[at] - wanted), default=-1)
        return self.open if at < 0 else at + (1 if self.metric.higher_is_better else 0)


def stops(snapshot: Snapshot) -> list[Stops]:
    """Return the sliders of a study."""
    named = {metric.name for metric in snapshot.metrics} | set(LIMITED_TOO)
    found = []
    for metric in snapshot.measured:
        values = sorted({m[metric.name] for m in snapshot.models if m.feasible and metric.name in m.measurements})
        if metric.name in named and len(values) > 1:
            step = max(1, -(-len(values) // MAX_STOPS))
            found.append(Stops(metric, (*values[:-1:step], values[-1])))
    return found[:MAX_SLIDERS]


def sliders(snapshot: Snapshot, query: Mapping[str, str]) -> list[Component]:
    """Return the sliders, where an address has set them."""
    return [_slider(one, one.stop(query.get(f"limit_{one.metric.name}"))) for one in stops(snapshot)]


def _slider(one: Stops, value: int) -> Component:
    name = one.metric.name
    words = "at least" if one.metric.higher_is_better else "at most"
    label = html.Span(
        [html.Span([name, " ", words], id=f"label-{name}"), html.B(id={"limit-text": name})], className="label"
    )
    slider = dcc.Slider(
        id={"limit": name},
        min=0,
        max=len(one.values),
        step=1,
        value=value,
        marks=None,
        updatemode="drag",
        allow_direct_input=False,
        included=one.metric.higher_is_better is False,
    )
    return html.Div([label, slider], className="limit", role="group", **aria(labelledby=f"label-{name}"))


def limit_text(one: Stops, stop: int) -> str:
    """Return a limit in words."""
    limit = one.limit(stop)
    return "no limit" if limit is None else one.metric.format(limit)


@dataclass(frozen=True)
class Answer:
    """A model, and why this one.

    Attributes:
        model: The model, with what it costs on the device.
        reasons: Sentences.
        on_device: Whether its costs are those on a device that was asked for, which the study's baseline does not have.
    """

    model: Model
    reasons: tuple[str, ...]
    on_device: bool = False


def answer(snapshot: Snapshot, limits: Mapping[str, float]) -> Answer:
    """Return the best model within limits.

    Raises:
        NothingFits: There is none; the message names the nearest.
    """
    known = known_metrics()
    asked = [Objective(known[name], False, limit) for name, limit in limits.items()]
    choice = choose(snapshot.models, snapshot.objectives, asked)
    fit = f"{choice.fitting:,} of {choice.considered:,} models fit."
    return Answer(choice.model, (fit, *_binding_texts(snapshot, choice)))


@dataclass(frozen=True)
class OnDevice:
    """The models of a study on a device.

    Attributes:
        models: Models that it can run, with what they cost on it.
        refused: Reasons why it cannot run the others.
        limits: Limits of the device itself.
        told: Metrics that are known of the models on this device.
    """

    models: tuple[Model, ...]
    refused: tuple[str, ...]
    limits: tuple[Objective, ...]
    told: frozenset[str] = frozenset()


def on_device(service: Service, snapshots: Snapshots, job: Job, device: str) -> OnDevice:
    """Return the models of a study on a device, found from their files by a process of its own, once.

    Raises:
        ConfigError: There is no such device.
    """
    check_name(device, dict.fromkeys(device_ids()), "device")  # the catalogue also reads files
    snapshot = snapshots.of(job)
    assert snapshot is not None

    def find() -> OnDevice:
        known, found = known_metrics(), service.device_models(job, device)
        models = []
        for model in snapshot.models:
            if (costs := found["costs"].get(str(model.trial))) is not None:
                measured = {name: Measurement(name, value, device=device) for name, value in costs.items()}
                models.append(with_costs(replace(model, feasible=True), measured, snapshot.objectives))
        limits = tuple(Objective(known[name], False, limit) for name, limit in found["limits"].items())
        told = frozenset(name for costs in found["costs"].values() for name in costs)
        return OnDevice(tuple(models), tuple(found["refused"].values()), limits, told)

    return snapshots.answer(job, snapshot, f"on {device}", find)


def answer_on_device(seen: OnDevice, snapshot: Snapshot, limits: Mapping[str, float], device: str) -> Answer:
    """Return the best model for a device within its limits and others.

    Raises:
        NothingFits: There is none; the message says why.
    """
    if not seen.models:
        reasons = list(dict.fromkeys(seen.refused))[:3]
        raise NothingFits(f"{device} runs none of {len(seen.refused)} models: {'; '.join(reasons)}")
    known = known_metrics()
    asked = [Objective(known[name], False, limit) for name, limit in limits.items()]
    choice = choose(seen.models, snapshot.objectives, limits_with(seen.limits, asked, seen.told, device))
    total = len(seen.refused) + len(seen.models)
    refused = (
        f"{device} cannot run {len(seen.refused):,} of {total:,} models: {seen.refused[0]}." if seen.refused else ""
    )
    return Answer(choice.model, (*filter(None, [refused]), *_binding_texts(snapshot, choice)), on_device=True)


def _binding_texts(snapshot: Snapshot, choice: Choice) -> tuple[str, ...]:
    first, texts = snapshot.metrics[0], []
    for one in choice.binding:
        metric, other = one.limit.metric, one.model
        gain = first.format_change(other[first.name], choice.model[first.name])
        texts.append(
            f"{metric.name} binds: {metric.format(other[metric.name])} ({one.excess:+.0%}) would allow trial "
            f"{other.trial}: {first.name} {gain}."
        )
    return tuple(texts) or (f"No limit keeps out a model with a better {first.name}.",)


def answer_text(place: Place, job: Job, snapshot: Snapshot, found: Answer) -> list[Any]:
    """Return the answer as it stands beside the sliders."""
    model, name, known = found.model, place.name_of(job), known_metrics()
    measured = [
        known[one] for one in model.measurements if one in known and one not in ("test_accuracy", "latency_again_ms")
    ]
    order = [metric.name for metric in snapshot.metrics]
    measured.sort(key=lambda metric: order.index(metric.name) if metric.name in order else len(order))
    facts, baseline = [], snapshot.baseline
    if found.on_device and baseline is not None:
        baseline = with_costs(baseline, {}, ())
    for metric in measured:
        value = metric.format(model[metric.name], model.measurements[metric.name].spread)
        facts += [html.Dt(metric.name), html.Dd([value, change(metric, model, baseline)])]
    return [
        html.H3([link(f"Trial {model.trial}", place.href("studies", name, "trials", model.trial))]),
        html.Dl(facts),
        html.Ul([html.Li(reason) for reason in found.reasons]),
        link(
            "Look at it and download it", place.href("studies", name, "trials", model.trial), className="button primary"
        ),
    ]
