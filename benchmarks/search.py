"""How few evaluations each sampler needs, on a table of your own and on made landscapes.

    .venv/bin/python benchmarks/search.py --table nas-bench-macro.json --samplers all

Each landscape is a race as of `paredown bench samplers`: seeds x trials evaluations, the share of the true front's
hypervolume at 25, 50 and 100 of them. Writes benchmarks/results/search.json and a plot of each landscape; `--only` and
fewer seeds or trials make it short.
"""

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from landscapes.limited import LIMITED
from landscapes.synthetic import SYNTHETIC

from paredown.search.bench.entries import entries
from paredown.search.bench.landscape import Landscape
from paredown.search.bench.plot import write_plot
from paredown.search.bench.race import Run, race
from paredown.search.bench.standing import checkpoints, document, standings
from paredown.search.bench.table import read_table
from paredown.search.errors import ConfigError

ROOT = Path(__file__).parents[1]
AT = [25, 50, 100]
MADE: dict[str, Callable[[], Landscape]] = {**SYNTHETIC, **LIMITED}


def said(name: str, run: Run) -> None:
    """Say on standard error that a run has ended."""
    sys.stderr.write(f"{name}: {run.sampler}, seed {run.seed}: {sum(run.ask_s):.1f} s of asking\n")


def main() -> None:
    """Race on every landscape; print the shares, write JSON and plots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="evaluated networks, e.g. nas-bench-macro.json")
    parser.add_argument("--spec", type=Path, default=ROOT / "examples/nas-bench-macro.yaml", help="of the table")
    parser.add_argument("--samplers", default="all")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--only", help=f"comma-separated: name of the table, {', '.join(MADE)}")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results", help="folder")
    options = parser.parse_args()
    landscapes: dict[str, Callable[[], Landscape]] = dict(MADE)
    if options.table is not None:
        landscapes = {options.table.stem: partial(read_table, options.table, options.spec), **landscapes}
    wanted = options.only.split(",") if options.only else list(landscapes)
    unknown = [name for name in wanted if name not in landscapes]
    if unknown:
        parser.error(f"--only: {unknown[0]!r} is not allowed; allowed: {', '.join(landscapes)}")
    suffix = "svg" if importlib.util.find_spec("kaleido") else "html"
    results = {}
    try:
        names = entries(options.samplers)
        for name in wanted:
            landscape = landscapes[name]()
            seeds = range(options.seeds)
            runs = race(landscape, names, seeds, options.trials, options.workers, partial(said, name))
            places = standings(landscape, runs)
            results[name] = document(landscape, places, checkpoints(AT, options.trials)) | {"landscape": name}
            write_plot(places, name, options.out / f"search-{name}.{suffix}")
            for place in places:
                shares = [f"{place.share(n).mean:.4f}" for n in checkpoints(AT, options.trials)]
                shown = " ".join(shares)
                print(f"{name:12} {place.sampler:20} {shown} {place.ask_seconds()['median']:.4f} s/ask", flush=True)
            file = options.out / "search.json"
            file.write_text(json.dumps({"trials": options.trials, "landscapes": results}) + "\n")
    except ConfigError as error:
        parser.error(str(error))
    print(options.out / "search.json")


if __name__ == "__main__":
    main()
