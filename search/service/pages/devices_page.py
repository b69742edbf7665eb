"""Devices: what is known of each, and the best model of a study for each."""

import json
from typing import Any

from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from paredown.evaluators.devices.catalogue import device_ids, device_profile
from paredown.evaluators.devices.energy import energy_text
from paredown.evaluators.devices.profile import DeviceProfile, Figure
from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.search.cli.device import size
from paredown.search.service.pages.dash_server import asker
from paredown.search.service.pages.elements import dropdown_label, link, nothing, panel, table
from paredown.search.service.pages.place import Place, name_of
from paredown.search.service.pages.snapshot import Snapshots
from paredown.search.service.service import Service

COSTS = ("ram_bytes", "flash_bytes", "device_latency_ms")
"""What devices add to the objectives of a study."""


def layout(place: Place, snapshots: Snapshots) -> list[Component]:
    """Return the page."""
    chosen = place.query.get("device")
    profiles = [device_profile(name) for name in device_ids()]
    head = ["Device", "Hardware", "Engine", "Formats", "Clock", "RAM for a model", "Flash for a model"]
    rows = [
        [
            link(p.id, place.href("devices", device=p.id), refresh=True),
            p.name,
            p.engine,
            ", ".join(p.dtypes),
            *_sizes(p),
        ]
        for p in profiles
    ]
    catalogue = panel(
        "Catalogue",
        table(head, rows, "Devices", (1, 2, 3)),
        note="A name opens what is known of a device, each number with its source.",
    )
    detail = [_detail(device_profile(chosen))] if chosen in device_ids() else []
    return [html.Div(html.H1("Devices"), className="head"), *detail, _matrix(place), catalogue]


def _sizes(profile: DeviceProfile) -> list[str]:
    flash = profile.memory.flash_bytes
    clock = profile.clock_mhz.value
    return [
        f"{clock:,.0f} MHz" if clock else "-",
        size(profile.arena_bytes),
        size(flash.value - profile.engine_flash_bytes) if flash else "-",
    ]


def _detail(profile: DeviceProfile) -> Component:
    named = [(name, getattr(profile, name)) for name in ("cores", "clock_mhz", "power_mw")]
    named += [(name, getattr(profile.memory, name)) for name in type(profile.memory).model_fields]
    rows = [[name, _value(name, one), one.kind, one.source] for name, one in named if one is not None]
    about = [
        html.Dt("Processor"),
        html.Dd(profile.processor),
        html.Dt("Engine"),
        html.Dd(f"{profile.engine} {profile.engine_version}"),
    ]
    about += [html.Dt("File"), html.Dd(profile.format)] + (
        [html.Dt("Note"), html.Dd(profile.note)] if profile.note else []
    )
    return panel(
        profile.name,
        html.Dl(about, className="list"),
        table(["Figure", "Value", "Kind", "Source"], rows, f"Figures of {profile.id}", (2, 3)),
    )


def _value(name: str, figure: Figure) -> str:
    return size(figure.value) if name.endswith("_bytes") else figure.interval_text


def _matrix(place: Place) -> Component:
    jobs = [job for job in place.service.list(place.token)[::-1] if place.service.reader(job) is not None]
    if not jobs:
        return nothing(
            "No study with models yet",
            link("Start one", place.href("new")),
            "; then the best model for each device stands here.",
        )
    names = [name_of(place.token, job) for job in jobs]
    wanted = place.query.get("study")
    return panel(
        "Which model for which device",
        html.Div(
            [
                html.Div(
                    [
                        dropdown_label("Study", "matrix-study"),
                        dcc.Dropdown(
                            names, wanted if wanted in names else names[0], id="matrix-study", clearable=False
                        ),
                    ],
                    className="narrow",
                ),
                html.Div(html.Button("Find the models", id="matrix-find"), className="bottom"),
            ],
            className="fields",
        ),
        dcc.Loading(html.Div(id="matrix"), type="dot"),
        note="Each device gets the best model that it can run within its memory. Finding it takes a while.",
    )


def add_callbacks(dash: Dash, service: Service, snapshots: Snapshots) -> None:
    """Add what finds the best model for each device."""

    @dash.callback(
        Output("matrix", "children"),
        Input("matrix-find", "n_clicks"),
        State("matrix-study", "value"),
        prevent_initial_call=True,
        running=[(Output("matrix-find", "disabled"), True, False)],
    )
    def find(clicks: int | None, name: str) -> Any:
        if not clicks:
            return no_update
        place = Place(service, asker(), ("devices",))
        job = service.find(asker(), name)
        service.begun(job)
        snapshot = snapshots.of(job)
        assert snapshot is not None
        command = ("select", job.stored_name, "--all-devices", "--json")
        found = json.loads(snapshots.answer(job, snapshot, "all devices", lambda: service.command(*command)))
        return matrix_table(place, name, found, [metric.name for metric in snapshot.metrics])


def matrix_table(place: Place, name: str, found: dict[str, Any], objectives: list[str]) -> Component:
    """Return the best model of a study for each device.

    Args:
        place: Where the browser is.
        name: The study, as the user reaches it.
        found: The document of `paredown select --all-devices --json`.
        objectives: Names of the objectives of the study.
    """
    known = known_metrics()
    shown = [*objectives, *(cost for cost in COSTS if cost in known and cost not in objectives)]
    rows: list[list[Any]] = []
    for one in found["devices"]:
        trial, values = one["trial"], one["metrics"]
        cells = [known[metric].format(values[metric]) if metric in values else "-" for metric in shown]
        model = "none" if trial is None else link(f"trial {trial}", place.href("studies", name, "trials", trial))
        rows.append([one["device"], model, *cells, energy_text(one["energy"]) or "-", one["reason"]])
    return table(
        ["Device", "Model", *shown, "Energy of one run", "Why none"],
        rows,
        f"The best model of {name} for each device",
        (1, len(shown) + 2, len(shown) + 3),
    )
