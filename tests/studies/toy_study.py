"""A study over two knobs whose trials are told by hand."""

from pathlib import Path
from typing import Any

from sqlalchemy import update

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.measurement import Measurement, Objective
from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.samplers.sampler import Problem
from paredown.spaces.candidate import Candidate
from paredown.spaces.knob import Range, Suggester
from paredown.studies.ownership import LEASE_S
from paredown.studies.result import TrialResult
from paredown.studies.study import Study
from paredown.studies.tables import RunnerRow, TrialRow

KNOBS = {"mbconv.width": Range(0, 9, 1), "mbconv.depth": Range(0, 9, 1)}
BASELINE = Candidate("mbconv", {"mbconv.width": 9, "mbconv.depth": 9})
CONFIG: dict[str, Any] = {"baseline": BASELINE.to_json(), "seed": 0}


def sample(trial: Suggester) -> Candidate:
    """Ask for both knobs."""
    return Candidate("mbconv", {name: knob.suggest(trial, name) for name, knob in KNOBS.items()})


def objectives(limit: float | None = None) -> list[Objective]:
    """Accuracy against bytes, with a limit on bytes."""
    return [Objective(EVALUATORS["accuracy"].metric), Objective(EVALUATORS["size_bytes"].metric, limit=limit)]


def open_study(
    folder: Path, seed: int = 0, limit: float | None = None, lease_s: float = LEASE_S, **config: Any
) -> Study:
    """Make or open the study in a folder."""
    url = f"sqlite:///{folder / 'studies.db'}"
    study = Study.create(url, "toy", CONFIG | config, objectives(limit), str(folder / "out"), lease_s)
    study.use(SAMPLERS["random"](Problem(seed, 20)))
    return study


def let_leases_lapse(study: Study) -> None:
    """Let the time of all leases be over, as if their owners had died long ago."""
    with study._storage.engine.begin() as connection:
        for table in (TrialRow, RunnerRow):
            connection.execute(update(table).values(lease_until=1.0))


def outcome(candidate: Candidate, **changed: float) -> TrialResult:
    """What a trial of a candidate measures."""
    width, depth = (float(v) for v in candidate.knobs.values())
    values = {"accuracy": 1 - 1 / (2 + width + depth), "size_bytes": 100 * (1 + width) * (1 + depth)} | changed
    measurements = {name: Measurement(name, value, 0.01) for name, value in values.items()}
    return TrialResult("done", "", measurements, "trials/x", {"seconds": {}}, ((0, {"loss": 1.0}), (1, {"loss": 0.5})))


def run(study: Study, count: int) -> list[Candidate]:
    """Ask and tell until so many trials ran."""
    ran: list[Candidate] = []
    while len(ran) < count:
        asked = study.ask(sample)
        if asked is not None:
            study.tell(asked.number, outcome(asked.candidate))
            ran.append(asked.candidate)
    return ran
