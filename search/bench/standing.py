"""The result of a race: the standing of each sampler."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from paredown.search.bench.landscape import Landscape
from paredown.search.bench.race import Run
from paredown.search.bench.share import Estimate, estimate, full_volume, shares

LAST_ASKS = 10
"""Number of the last proposals whose time is also reported by itself: samplers slow down as trials accumulate."""


@dataclass(frozen=True)
class Standing:
    """The standing of one sampler.

    Attributes:
        sampler: Name of the sampler.
        runs: Its runs, one per seed.
        curves: Share of the hypervolume after each evaluation, by run.
    """

    sampler: str
    runs: Sequence[Run]
    curves: Sequence[Sequence[float]]

    def share(self, evaluations: int) -> Estimate:
        """Return the share of the hypervolume after a number of evaluations."""
        return estimate([curve[evaluations - 1] for curve in self.curves])

    def ask_seconds(self) -> dict[str, float]:
        """Return the seconds that a proposal took: median and mean, over all proposals and over the last ones."""
        every = [second for run in self.runs for second in run.ask_s]
        last = [second for run in self.runs for second in run.ask_s[-LAST_ASKS:]]
        return {
            "median": statistics.median(every),
            "mean": statistics.fmean(every),
            "last_10_median": statistics.median(last),
            "last_10_mean": statistics.fmean(last),
        }

    def per_run(self, count: str) -> float:
        """Return the mean over seeds of one count of the runs: `failed`, `outside` or `duplicates`."""
        return statistics.fmean(getattr(run, count) for run in self.runs)


def standings(landscape: Landscape, runs: Sequence[Run]) -> list[Standing]:
    """Return the standing of each sampler, in the order of the runs."""
    whole = full_volume(landscape, runs)
    return [
        Standing(name, mine, [shares(run, landscape.reference, whole) for run in mine])
        for name in dict.fromkeys(run.sampler for run in runs)
        for mine in [[run for run in runs if run.sampler == name]]
    ]


def checkpoints(asked: Sequence[int], trials: int) -> list[int]:
    """Return the evaluations at which shares are shown: the requested ones within the race, and its end."""
    return sorted({at for at in asked if at <= trials} | {trials})


def document(landscape: Landscape, places: Sequence[Standing], at: Sequence[int]) -> dict[str, Any]:
    """Return the result of a race as plain data.

    Args:
        landscape: The landscape of the race.
        places: Standing of each sampler.
        at: Evaluations at which shares are shown.
    """
    return {
        "landscape": landscape.name,
        **landscape.describe(),
        "true_front": "known" if landscape.complete else "best of all that was evaluated",
        "objectives": [asdict(goal) for goal in landscape.goals],
        "reference": [
            -loss if goal.maximise else loss
            for goal, loss in zip(landscape.goals, landscape.reference.tolist(), strict=True)
        ],
        "trials": max(at),
        "seeds": [run.seed for run in places[0].runs],
        "checkpoints": list(at),
        "samplers": [_standing(place, at) for place in places],
    }


def _standing(place: Standing, at: Sequence[int]) -> dict[str, Any]:
    return {
        "sampler": place.sampler,
        "share": {str(n): _estimate(place.share(n)) for n in at},
        "ask_seconds": place.ask_seconds(),
        "failed": place.per_run("failed"),
        "outside": place.per_run("outside"),
        "duplicates": place.per_run("duplicates"),
        "runs": [
            {
                "seed": run.seed,
                "curve": [round(share, 6) for share in curve],
                "failed": run.failed,
                "outside": run.outside,
                "duplicates": run.duplicates,
            }
            for run, curve in zip(place.runs, place.curves, strict=True)
        ],
    }


def _estimate(one: Estimate) -> dict[str, float | None]:
    low = None if one.half_width is None else one.mean - one.half_width
    high = None if one.half_width is None else one.mean + one.half_width
    return {"mean": one.mean, "low": low, "high": high, "gap": 1 - one.mean}
