"""All trials of a study: parallel coordinates, and a table whose rows come from SQL as it is scrolled."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import dash_ag_grid as dag
import plotly.graph_objects as go
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from paredown.search.service.pages.brushes import Axis, Brush, brushes_after
from paredown.search.service.pages.candidate_text import in_words
from paredown.search.service.pages.dash_server import asker
from paredown.search.service.pages.elements import dropdown_label, nothing, panel
from paredown.search.service.pages.parallel import can_draw, parallel_plot, trials_inside
from paredown.search.service.pages.place import Place, address
from paredown.search.service.pages.plots import graph
from paredown.search.service.pages.snapshot import Snapshot, Snapshots
from paredown.search.service.pages.study_frame import study_head
from paredown.search.service.service import Service
from paredown.studies.queue.job import Job
from paredown.studies.reading import SORTED_BY, STATES, StudyReader

BLOCK = 100
"""Number of rows that one request brings."""
REASON = 140
"""Maximum number of characters of a reason in the table; the page of a trial has all of it."""
RELOAD = """(version, ranges, state) => {
    if (version && document.getElementById("grid")) {
        const isSame = dash_clientside.callback_context.triggered_id === "trials-version";
        const reload = isSame ? "refreshInfiniteCache" : "purgeInfiniteCache";
        dash_ag_grid.getApiAsync("grid").then(grid => grid[reload]());
    }
}"""
"""Lets the grid read its rows again, which no property of Dash's does: a new grid would forget how it was sorted, and
where only new trials have come, how far it was scrolled and which cell has the focus."""
ALIGNED = {"textAlign": "right", "fontVariantNumeric": "tabular-nums"}


def layout(place: Place, snapshots: Snapshots) -> list[Component]:
    """Return the page."""
    job = place.job()
    head, snapshot = study_head(place, job, "trials"), snapshots.of(job)
    figure, axes, is_hidden = _drawn(snapshot, [])
    label = "Metrics and knobs of the trials side by side; the table below holds them"
    note = (
        "Drag a box over an axis to keep a range, and with the shift key one more: the table below shows the trials "
        "that are in a range of each such axis. A double click keeps all."
    )
    side_by_side = panel("Side by side", html.Div(graph("parallel", figure, label, 400), className="broad"), note=note)
    return [
        *head,
        html.Div(side_by_side, id="parallel-place", hidden=is_hidden),
        html.Div(_trials(place, job, snapshot), id="trials"),
        dcc.Store(id="trials-version", data=None if snapshot is None else _version(place.service, job)),
        dcc.Store(id="brushes", data=[]),
        dcc.Store(id="parallel-axes", data=axes),
    ]


def _drawn(snapshot: Snapshot | None, brushes: list[Brush]) -> tuple[go.Figure, list[dict[str, Any]], bool]:
    """Return the parallel coordinates, their axes as plain data, and whether there is nothing to show."""
    if snapshot is None or not can_draw(snapshot):
        return go.Figure(), [], True
    return parallel_plot(snapshot, brushes), [asdict(axis) for axis in snapshot.axes[0]], False


def _version(service: Service, job: Job) -> str:
    """Return a text that differs where a trial has come or changed its state."""
    return str(sorted(service.overview.look(job).figures.counts.items()))


def _trials(place: Place, job: Job, snapshot: Snapshot | None) -> list[Component]:
    if snapshot is None:
        return [nothing("No trials yet", f"The study is {job.state}; they appear here by themselves when it runs.")]
    state = place.query.get("state")
    states = [*STATES, "infeasible"]
    chooser = html.Div(
        [dropdown_label("State", "state"), dcc.Dropdown(states, state, id="state", placeholder="all")],
        className="narrow",
    )
    return [
        panel(
            "Trials",
            html.Div(chooser, className="fields"),
            _grid(snapshot.reader),
            html.P(id="grid-count", className="note under", role="status"),
            note="A click on a row, or the space bar, opens the trial; a click on a head sorts. "
            "New trials come by themselves.",
        ),
    ]


def _grid(reader: StudyReader) -> Component:
    right = {"cellStyle": ALIGNED, "type": "rightAligned"}
    columns: list[dict[str, Any]] = [{"field": "number", "headerName": "Trial", "width": 90, **right}]
    columns += [{"field": "state", "headerName": "State", "width": 200}]
    columns += [{"field": m.name, "headerName": m.name, "width": 150, **right} for m in reader.optimised_metrics]
    columns += [
        {
            "field": "candidate",
            "headerName": "Candidate",
            "flex": 2,
            "minWidth": 320,
            "sortable": False,
            "tooltipField": "candidate",
        },
        {
            "field": "reason",
            "headerName": "Reason",
            "flex": 1,
            "minWidth": 200,
            "sortable": False,
            "tooltipField": "reason",
        },
    ]
    grid: Component = dag.AgGrid(
        id="grid",
        columnDefs=columns,
        rowModelType="infinite",
        className="grid",
        defaultColDef={"resizable": True, "sortable": True, "suppressHeaderMenuButton": True},
        dashGridOptions={
            "cacheBlockSize": BLOCK,
            "maxBlocksInCache": 4,  # all of them are read again when something is new
            "maxConcurrentDatasourceRequests": 1,  # Dash's grid remembers one request
            "rowHeight": 36,
            "tooltipShowDelay": 300,
            "rowSelection": {"mode": "singleRow", "checkboxes": False, "enableClickSelection": True},
        },
        style={"height": "560px"},
    )
    return grid


def add_callbacks(dash: Dash, service: Service, snapshots: Snapshots) -> None:
    """Add what brings rows, and what links the axes to the table."""

    @dash.callback(
        Output("grid", "getRowsResponse"),
        Output("grid-count", "children"),
        Input("grid", "getRowsRequest"),
        State("study-name", "data"),
        State("state", "value"),
        State("brushes", "data"),
    )
    def rows(asked: Mapping[str, Any] | None, name: str, state: str | None, brushes: list[Brush]) -> tuple[Any, Any]:
        if asked is None:
            return no_update, no_update
        job = service.find(asker(), name)
        reader, snapshot = service.begun(job), snapshots.of(job) if brushes else None
        sorting = (asked.get("sortModel") or [{}])[0]
        allowed = (*SORTED_BY, *(metric.name for metric in reader.optimised_metrics))
        total, page = reader.page(
            states=() if state is None else ("done",) if state == "infeasible" else (state,),
            feasible=False if state == "infeasible" else None,
            numbers=None if snapshot is None else trials_inside(snapshot, brushes),
            sort=sorting.get("colId") if sorting.get("colId") in allowed else "number",
            descending=sorting.get("sort") == "desc" if sorting else True,
            offset=max(0, int(asked["startRow"])),
            limit=min(BLOCK, max(1, int(asked["endRow"]) - int(asked["startRow"]))),
        )
        found = [_row(reader, row) for row in page]
        said = f"{total:,} trials" if total else "No trial is in this state or range; choose another."
        return {"rowData": found, "rowCount": total}, said

    @dash.callback(
        Output("parallel", "figure"),
        Output("parallel-axes", "data"),
        Output("parallel-place", "hidden"),
        Output("brushes", "data"),
        Input("parallel", "relayoutData"),
        Input("trials-version", "data"),
        State("brushes", "data"),
        State("parallel-axes", "data"),
        State("study-name", "data"),
        prevent_initial_call=True,
    )
    def draw(
        event: Mapping[str, Any] | None,
        version: str | None,
        brushes: list[Brush],
        axes: list[dict[str, Any]],
        name: str,
    ) -> tuple[Any, Any, Any, Any]:
        changed = None
        if ctx.triggered_id == "parallel":
            changed = brushes_after(event or {}, brushes, [Axis(**axis) for axis in axes])
            if changed is None:
                raise PreventUpdate
        snapshot = snapshots.of(service.find(asker(), name))
        drawn = _drawn(snapshot, brushes if changed is None else changed)
        return *drawn, no_update if changed is None else changed

    @dash.callback(
        Output("trials-version", "data"),
        Output("trials", "children"),
        Input("study-tick", "n_intervals"),
        State("trials-version", "data"),
        State("study-name", "data"),
        prevent_initial_call=True,
    )
    def look(ticks: int, version: str | None, name: str) -> tuple[Any, Any]:
        place = Place(service, asker(), ("studies", name, "trials"))
        job = place.job()
        now = _version(service, job)
        if version is None:  # nothing had begun when the page was opened
            snapshot = snapshots.of(job)
            return (None, no_update) if snapshot is None else (now, _trials(place, job, snapshot))
        return no_update if now == version else now, no_update

    news = (Input("trials-version", "data"), Input("brushes", "data"), Input("state", "value", allow_optional=True))
    dash.clientside_callback(RELOAD, *news, prevent_initial_call=True)  # type: ignore[no-untyped-call]

    @dash.callback(
        Output("url", "href", allow_duplicate=True),
        Input("grid", "selectedRows"),
        State("study-name", "data"),
        prevent_initial_call=True,
    )
    def open_trial(selected: list[Mapping[str, Any]] | None, name: str) -> Any:
        return address(service, "studies", name, "trials", selected[0]["number"]) if selected else no_update


def _row(reader: StudyReader, row: Mapping[str, Any]) -> dict[str, Any]:
    values = {m.name: m.format(row["metrics"][m.name]) for m in reader.optimised_metrics if m.name in row["metrics"]}
    state = f"{row['state']} ({row['cause']})" if row["cause"] else row["state"]
    return {
        "number": row["trial"],
        "state": "done, infeasible" if row["feasible"] is False else state,
        **values,
        "candidate": in_words(row["candidate"]),
        "reason": row["reason"].partition("\n")[0][:REASON],
    }
