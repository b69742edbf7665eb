"""How few evaluations each sampler needs, on a table of your own and on made landscapes.

    .venv/bin/python benchmarks/search.py --table nas-bench-macro.json

Each landscape is a race as of `paredown bench samplers`: the share of the true front's hypervolume that the evaluated
networks reach. There are two races on each: a short one over many seeds, of the default sampler and TPE, and a long one
of all samplers; Optuna's Gaussian process, which takes a minute for each run, races on the table alone. A short race is
not the beginning of a long one: samplers divide their trials into phases.

`--trials`, `--seeds` and `--samplers` together make one race of your own instead; `--only` names the landscapes.
benchmarks/results/search.json keeps what was not raced anew. Races of three samplers and more are plotted.
"""

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from landscapes.limited import LIMITED
from landscapes.synthetic import SYNTHETIC

from paredown.search.bench.entries import entries
from paredown.search.bench.landscape import Landscape
from paredown.search.bench.plot import write_plot
from paredown.search.bench.race import Run, race
from paredown.search.bench.standing import Standing, checkpoints, document, standings
from paredown.search.bench.table import read_table
from paredown.search.errors import ConfigError

ROOT = Path(__file__).parents[1]
AT = [12, 25, 50, 100]
MADE: dict[str, Callable[[], Landscape]] = {**SYNTHETIC, **LIMITED}


@dataclass(frozen=True)
class Race:
    """A race that is run on each landscape.

    Attributes:
        trials: Number of evaluations in a run.
        seeds: Number of seeds.
        samplers: Names of the samplers, comma-separated.
        only_table: Whether it is run on the table alone.
    """

    trials: int
    seeds: int
    samplers: str
    only_table: bool = False


RACES = (
    Race(25, 100, "cost_aware,tpe"),
    Race(100, 10, "gp", only_table=True),
    Race(100, 10, "cost_aware,tpe,nsga2,nsga3,evolution,reinforce,local_search,qmc,random"),
)


def said(name: str, run: Run) -> None:
    """Say on standard error that a run has ended."""
    sys.stderr.write(f"{name}: {run.sampler}, seed {run.seed}: {sum(run.ask_s):.1f} s of asking\n")


def added(old: dict[str, Any], new: dict[str, Any], places: Sequence[Standing]) -> dict[str, Any]:
    """Return a race's result with the samplers of an earlier one; mean curves take the place of those of each run."""
    raced = {}
    for standing, place in zip(new["samplers"], places, strict=True):
        curve = [round(sum(shares) / len(shares), 5) for shares in zip(*place.curves, strict=True)]
        kept = {key: value for key, value in standing.items() if key != "runs"}
        raced[place.sampler] = kept | {"seeds": len(place.runs), "mean_curve": curve}
    samplers = {standing["sampler"]: standing for standing in old.get("samplers", [])} | raced
    return {key: value for key, value in new.items() if key != "seeds"} | {"samplers": list(samplers.values())}


def main() -> None:
    """Race on every landscape; print the shares, write JSON and plots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="evaluated networks, e.g. nas-bench-macro.json")
    parser.add_argument("--spec", type=Path, default=ROOT / "examples/nas-bench-macro.yaml", help="of the table")
    parser.add_argument("--samplers")
    parser.add_argument("--trials", type=int)
    parser.add_argument("--seeds", type=int)
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
    own = (options.trials, options.seeds, options.samplers)
    if any(own) and not all(own):
        parser.error("--trials, --seeds and --samplers make one race: write all three or none")
    races = (Race(*own),) if all(own) else RACES
    suffix = "svg" if importlib.util.find_spec("kaleido") else "html"
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "search.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    try:
        for one in races:
            at = checkpoints(AT, one.trials)
            names, mine = entries(one.samplers), results.setdefault(str(one.trials), {})
            for name in wanted:
                if one.only_table and name in MADE:
                    continue
                landscape = landscapes[name]()
                runs = race(landscape, names, range(one.seeds), one.trials, options.workers, partial(said, name))
                places = standings(landscape, runs)
                mine[name] = added(mine.get(name, {}), document(landscape, places, at) | {"landscape": name}, places)
                for place in places:
                    shown = " ".join(f"{place.share(n).mean:.4f}" for n in at)
                    print(f"{name:16} {place.sampler:14} {shown} {place.ask_seconds()['median']:.4f} s/ask", flush=True)
                if len(places) > 2:
                    write_plot(places, name, options.out / f"search-{name}.{suffix}")
                file.write_text(json.dumps(results) + "\n")
    except ConfigError as error:
        parser.error(str(error))
    print(file)


if __name__ == "__main__":
    main()
