"""All trials of a study: parallel coordinates, and a table whose rows come from SQL as it is scrolled."""

from collections.abc import Mapping
from typing import Any

import dash_ag_grid as dag
from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from paredown.search.service.pages.candidate_text import in_words
from paredown.search.service.pages.dash_server import asker
from paredown.search.service.pages.elements import dropdown_label, nothing, panel
from paredown.search.service.pages.parallel import parallel_plot, selected_trials
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
RELOAD = """version => {
    if (version && document.getElementById("grid")) {
        dash_ag_grid.getApiAsync("grid").then(grid => grid.refreshInfiniteCache());
    }
}"""
"""Lets the grid read its rows again where they are, which no property of Dash's does: a new grid would forget how far
it was scrolled, how it was sorted, and which cell has the focus."""
ALIGNED = {"textAlign": "right", "fontVariantNumeric": "tabular-nums"}


def layout(place: Place, snapshots: Snapshots) -> list[Component]:
    """Return the page."""
    job = place.job()
    head, snapshot = study_head(place, job, "trials"), snapshots.of(job)
    return [
        *head,
        html.Div(_trials(place, job, snapshot), id="trials"),
        dcc.Store(id="trials-version", data=None if snapshot is None else _version(place.service, job)),
    ]


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
        *_parallel(snapshot),
        panel(
            "Trials",
            html.Div(chooser, className="fields"),
            html.Div(_grid(snapshot.reader), id="grid-place"),
            html.P(id="grid-count", className="note", role="status"),
            note="A click on a row, or the space bar, opens the trial; a click on a head sorts. "
            "New trials come by themselves.",
        ),
        dcc.Store(id="kept-numbers"),
    ]


def _parallel(snapshot: Snapshot) -> list[Component]:
    if snapshot.baseline is None or len(snapshot.models) < 2:
        return []
    figure = parallel_plot(snapshot)
    label = "Metrics and knobs of the trials side by side; the table below holds them"
    note = (
        "Drag a box over an axis to keep a range: the table below shows the trials in it. A double click keeps all. "
        "The lines are those of the trials that were there when this page was opened."
    )
    return [panel("Side by side", html.Div(graph("parallel", figure, label, 400), className="broad"), note=note)]


def _grid(reader: StudyReader) -> Component:
    right = {"cellStyle": ALIGNED, "type": "rightAligned"}
    columns: list[dict[str, Any]] = [{"field": "number", "headerName": "Trial", "width": 90, **right}]
    columns += [{"field": "state", "headerName": "State", "width": 160}]
    columns += [{"field": m.name, "headerName": m.name, "width": 150, **right} for m in reader.optimised_metrics]
    columns += [
        {"field": "candidate", "headerName": "Candidate", "flex": 2, "minWidth": 320, "sortable": False},
        {"field": "reason", "headerName": "Reason", "flex": 1, "minWidth": 200, "sortable": False},
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
        State("kept-numbers", "data"),
    )
    def rows(asked: Mapping[str, Any] | None, name: str, state: str | None, kept: list[int] | None) -> tuple[Any, Any]:
        if asked is None:
            return no_update, no_update
        reader = service.begun(service.find(asker(), name))
        sorting = (asked.get("sortModel") or [{}])[0]
        allowed = (*SORTED_BY, *(metric.name for metric in reader.optimised_metrics))
        total, page = reader.page(
            states=() if state is None else ("done",) if state == "infeasible" else (state,),
            feasible=False if state == "infeasible" else None,
            numbers=kept,
            sort=sorting.get("colId") if sorting.get("colId") in allowed else "number",
            descending=sorting.get("sort") == "desc" if sorting else True,
            offset=max(0, int(asked["startRow"])),
            limit=min(BLOCK, max(1, int(asked["endRow"]) - int(asked["startRow"]))),
        )
        found = [_row(reader, row) for row in page]
        said = f"{total:,} trials" if total else "No trial is in this state or range; choose another."
        return {"rowData": found, "rowCount": total}, said

    @dash.callback(
        Output("kept-numbers", "data"),
        Output("grid-place", "children"),
        Input("state", "value"),
        Input("parallel", "selectedData", allow_optional=True),
        State("study-name", "data"),
        prevent_initial_call=True,
    )
    def narrow(state: str | None, selected: Mapping[str, Any] | None, name: str) -> tuple[Any, Any]:
        return selected_trials(selected), _grid(service.begun(service.find(asker(), name)))

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

    reload = Input("trials-version", "data")
    dash.clientside_callback(RELOAD, reload, prevent_initial_call=True)  # type: ignore[no-untyped-call]

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
