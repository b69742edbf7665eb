"""The command `show`: the trials of a study, a screenful at a time."""

import shutil
import sys
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paredown.search.cli.options import DEFAULT_STORAGE, AsJson, Storage, StudyName, open_study
from paredown.search.cli.output import print_json, print_table, progress_console
from paredown.search.errors import ConfigError, check_name
from paredown.studies.region import limit_texts, limits_summary

if TYPE_CHECKING:  # --help must not load a database
    from paredown.evaluators.metrics.measurement import Metric
    from paredown.studies.study import Study
    from paredown.studies.trial_table import Page

REASON = 120
"""Number of characters of a reason that are shown; --json has all of it."""
ROWS, MIN_ROWS, MARGIN = 50, 10, 6
"""Rows of a page where standard output is no terminal; the least in one; and its lines beside the rows."""
LATE = "came after another search had taken the trial over; it is kept, and counts nowhere"


def show(
    study: StudyName,
    page: Annotated[int | None, typer.Option(min=1, help="Number of the page; 1 has the latest trials.")] = None,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Rows of a page. (default: what fits the terminal; 50 in a pipe)")
    ] = None,
    last: Annotated[int | None, typer.Option(min=1, help="Show this number of the latest trials.")] = None,
    state: Annotated[
        str | None, typer.Option(help="Show trials of this state alone, such as failed; or infeasible.")
    ] = None,
    sort: Annotated[str | None, typer.Option(help="Sort by this metric, the best trial first.")] = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Show the trials of a study, with reasons, broken limits and what steps left alone; --json has all of them."""
    from paredown.studies.trial_table import STATES, trials
    from paredown.studies.trial_table import page as page_of

    if last is not None and (page is not None or rows is not None):
        raise ConfigError("--last: not together with --page or --rows; it shows one page of that size")
    if state is not None:
        check_name(state, dict.fromkeys(STATES), "--state")
    opened = open_study(storage, study).stored
    best = None if sort is None else _metric(sort)
    narrowed = (page, rows, last, state, sort) != (None, None, None, None, None)
    if as_json and not narrowed:
        print_json(_document(opened, trials(opened)))
        return
    size = last or rows or (ROWS if as_json or not sys.stdout.isatty() else _fitting())
    shown = page_of(opened, size, page or 1, state, best)
    if as_json:
        where = {"first": shown.first, "total": shown.total, "number": shown.number, "pages": shown.pages}
        print_json(_document(opened, shown.rows) | {"page": where})
        return
    _print(opened, shown, last is not None)


def _metric(name: str) -> "Metric":
    from paredown.evaluators.metrics.catalogue import known_metrics

    known = known_metrics()
    check_name(name, known, "--sort")
    return known[name]


def _fitting() -> int:
    return max(MIN_ROWS, shutil.get_terminal_size().lines - MARGIN)


def _document(study: "Study", rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the document; the metrics of trials that are no models stay out of it."""
    for row in rows:
        row |= {name: row[name] and row[name].isoformat(timespec="seconds") for name in ("started_at", "finished_at")}
        if row["state"] != "done":
            row["metrics"] = {}
        del row["spreads"]
        row["broken_limits"] = [{k: v for k, v in broken.items() if k != "text"} for broken in row["broken_limits"]]
    document = {"study": study.name, "config": study.config, "counts": study.counts(), "trials": rows}
    document["limits"] = limits_summary(study.objectives)
    return document | {"line": study.line(), "late": study.orphans(), "sensitivity": study.sensitivity()}


def _print(study: "Study", page: "Page", is_last: bool) -> None:
    from paredown.search.api.model_table import ModelTable

    if texts := limit_texts(study.objectives):
        typer.echo(f"limits  {', '.join(texts)}")
    for one in study.config.get("warm_start", ()):
        said = f"{one['used']} of its {one['networks']} networks, {one['asked_first']} asked first"
        typer.echo(f"warm start  {one['study']}: {said}")
    metrics, table = [o.metric for o in study.objectives], ModelTable.of(study)
    lines = []
    for row in page.rows:
        measured = row["metrics"] if row["state"] == "done" else {}
        values = [m.format(measured[m.name]) if m.name in measured else "" for m in metrics]
        left = ", ".join(f"{table.step_name(step)} {len(layers)}" for step, layers in row["skipped"].items())
        lines.append([str(row["number"]), _state(row), *values, left, _reason(row)])
    print_table(["trial", "state", *(m.name for m in metrics), "left alone", "reason"], lines)
    for late in study.orphans():
        result = late["result"]
        said = shorten(f": {result['reason']}" if result["reason"] else "", REASON, placeholder=" ...")
        typer.echo(f"late: trial {late['number']}, attempt {late['attempt']} ({result['outcome']}{said}) {LATE}")
    if line := study.line():
        typer.echo(f"in line: {', '.join(f'trial {number}' for number in line)}")
    if page.pages > 1:
        ends = f"{page.first:,}-{page.first + len(page.rows) - 1:,} of {page.total:,}"
        more = f"; --page {page.number + 1} shows more" if page.number < page.pages and not is_last else ""
        progress_console().print(f"rows {ends}{more}", markup=False, highlight=False)


def _state(row: dict[str, Any]) -> str:
    facts = row["facts"]
    if row["state"] == "failed" and row["cause"]:
        return f"failed ({row['cause']})"
    if row["state"] == "retried" and "retried_as" in facts:
        return f"retried as {facts['retried_as']}"
    if row["broken_limits"]:
        return f"{row['state']} (infeasible)"
    return str(row["state"])


def _reason(row: dict[str, Any]) -> str:
    broken = "; ".join(broken["text"] for broken in row["broken_limits"])
    again = f"trial {row['facts']['retry_of']} once more" if "retry_of" in row["facts"] else ""
    parts = [part for part in (row["reason"].partition("\n")[0], broken, again) if part]
    return shorten("; ".join(parts), REASON, placeholder=" ...")
