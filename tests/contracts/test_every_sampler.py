"""What every sampler must do, on a study told by hand."""

from pathlib import Path

import pytest
from toy_study import KNOBS, open_study, outcome, sample

from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.samplers.sampler import Problem
from paredown.spaces.candidate import Candidate
from paredown.studies.result import TrialResult
from paredown.studies.study import Study


def propose(study: Study, count: int) -> list[Candidate]:
    """Run so many trials; every fifth fails, every seventh is rejected."""
    proposed: list[Candidate] = []
    while len(proposed) < count:
        asked = study.ask(sample)
        if asked is None:
            continue
        result = outcome(asked.candidate)
        if asked.number % 5 == 4:
            result = TrialResult("failed", "every fifth")
        elif asked.number % 7 == 6:
            result = TrialResult("rejected", "every seventh", result.measurements)
        study.tell(asked.number, result)
        proposed.append(asked.candidate)
    return proposed


def started(name: str, folder: Path, seed: int) -> Study:
    folder.mkdir(exist_ok=True)
    study = open_study(folder, limit=8000)
    study.use(SAMPLERS[name](Problem(seed, 30)))
    return study


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_same_seed_proposes_the_same(name: str, tmp_path: Path) -> None:
    first, second, other = (
        propose(started(name, tmp_path / folder, seed), 16) for folder, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == second
    assert first != other


@pytest.mark.parametrize("name", SAMPLERS)
def test_stays_in_the_space_and_never_runs_a_network_twice(name: str, tmp_path: Path) -> None:
    proposed = propose(started(name, tmp_path, 3), 30)
    assert len({c.digest for c in proposed}) == 30
    for candidate in proposed:
        for knob, value in candidate.knobs.items():
            assert value in KNOBS[knob]


@pytest.mark.parametrize("name", SAMPLERS)
def test_goes_on_in_a_study_opened_again(name: str, tmp_path: Path) -> None:
    before = propose(started(name, tmp_path, 4), 12)
    study = started(name, tmp_path, 5)
    after = propose(study, 8)
    assert not {c.digest for c in before} & {c.digest for c in after}
    assert {"done", "failed", "rejected"} <= set(study.counts())
