"""The commands `studies` and `show`: what a database holds."""

from textwrap import shorten

from paredown.search.cli.options import DEFAULT_STORAGE, AsJson, Storage, StudyName, open_study
from paredown.search.cli.output import print_json, print_table

REASON = 120
"""So many characters of a reason are shown; --json has all of it."""


def studies(storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False) -> None:
    """List the studies of a database."""
    from paredown.studies.records import list_studies

    rows = list_studies(storage)
    if as_json:
        print_json({"studies": rows})
        return
    print_table(
        ["study", "created", "trials", "folder"],
        [
            [r["study"], r["created_at"], ", ".join(f"{n} {s}" for s, n in r["trials"].items()), r["folder"]]
            for r in rows
        ],
    )


def show(study: StudyName, storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False) -> None:
    """Show every trial of a study, with the reason of those that failed or were rejected and what steps left alone."""
    opened = open_study(storage, study)
    rows, models = opened.rows(), {m.trial: m for m in opened.models()}
    for row in rows:
        row["skipped"] = row["facts"].get("skipped", {})
        if row["number"] in models:
            row["metrics"] = {n: m.value for n, m in models[row["number"]].measurements.items()}
    if as_json:
        document = {"study": study, "config": opened.config, "counts": opened.counts(), "trials": rows}
        print_json(document | {"sensitivity": opened.sensitivity()})
        return
    metrics = [o.metric for o in opened.objectives]
    from paredown.search.cli.model_table import short_name

    lines = []
    for row in rows:
        values = [m.format(row["metrics"][m.name]) if "metrics" in row else "" for m in metrics]
        left = ", ".join(f"{short_name(step)} {len(layers)}" for step, layers in row["skipped"].items())
        lines.append(
            [
                str(row["number"]),
                row["state"],
                *values,
                left,
                shorten(row["reason"].partition("\n")[0], REASON, placeholder=" ..."),
            ]
        )
    print_table(["trial", "state", *(m.name for m in metrics), "left alone", "reason"], lines)
