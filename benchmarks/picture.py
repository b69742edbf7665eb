"""The picture of the README, from a study: `.venv/bin/python benchmarks/picture.py digits -o docs/front.svg`.

Needs the extra `docs` (kaleido) and a Chromium.
"""

import argparse
from pathlib import Path

from paredown.search.study_file.objectives import stored_objectives
from paredown.studies.figures import front_figure
from paredown.studies.front import front
from paredown.studies.study import Study


def main() -> None:
    """Write the front of a study as a picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/front.svg"))
    parser.add_argument("--storage", default="sqlite:///paredown.db")
    parser.add_argument("--against", default="size_bytes", help="metric of the horizontal axis")
    options = parser.parse_args()
    study = Study.open(options.storage, options.study, stored_objectives)
    models, baseline = study.models(), study.baseline()
    if baseline is None:
        parser.error(f"study {options.study!r} has no finished trial")
    metrics = study.optimised_metrics
    shown = (metrics[0], *(m for m in metrics[1:] if m.name == options.against), *metrics[1:])
    figure = front_figure(models, front(models, metrics), baseline, list(dict.fromkeys(shown)))
    figure.layout.updatemenus = ()
    figure.update_layout(width=900, height=420)
    figure.update_xaxes(dtick="D2")  # 1, 2 and 5: all digits overlap over two decades
    figure.write_image(options.out)


if __name__ == "__main__":
    main()
