"""How long a study has gained nothing, and the searches that end for it."""

from pathlib import Path
from typing import Any

import toy_trials
from toy_study import open_study, outcome, sample

from paredown.search.patience import trials_without_gain
from paredown.search.run import SearchSummary, search
from paredown.studies.result import TrialResult, stopped_early
from paredown.studies.study import Study


def tell(study: Study, *results: tuple[float, float] | str) -> None:
    """Tell (accuracy, size) of done trials, or another outcome by name."""
    for told in results:
        while (trial := study.ask(sample)) is None:
            pass
        if told == "stopped":
            study.tell(trial.number, stopped_early("", 0.5, 0.5, {}, {}, [(0, {"accuracy": 0.5})]))
        elif told in ("failed", "rejected"):
            study.tell(trial.number, TrialResult(told, "so"))  # type: ignore[arg-type]
        else:
            study.tell(trial.number, outcome(trial.candidate, accuracy=told[0], size_bytes=told[1]))


def test_trials_without_gain_are_counted(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    assert trials_without_gain(study) == 0
    tell(study, (0.9, 1000))
    assert trials_without_gain(study) == 0, "the baseline is a gain"
    tell(study, (0.8, 1000), "stopped", "failed", "rejected")
    assert trials_without_gain(study) == 3, "a rejected one was not trained"
    tell(study, (0.8, 900))
    assert trials_without_gain(study) == 0, "it is on the front"
    tell(study, (0.8, 900), (0.95, 1200))
    assert trials_without_gain(study) == 2, "an equal one, and one beyond the reference point"
    assert trials_without_gain(open_study(tmp_path)) == 2


def test_a_model_that_breaks_a_limit_is_no_gain(tmp_path: Path) -> None:
    study = open_study(tmp_path, limit=950)
    tell(study, (0.9, 900), (0.99, 990))
    assert trials_without_gain(study) == 1


def run_toy(folder: Path, **keys: Any) -> SearchSummary:
    setup = toy_trials.toy_setup(folder, sampler="random", **keys)
    return search(setup, f"sqlite:///{folder}/toy.db", where="toy.yaml", run=toy_trials.alike)


def test_a_search_ends_when_it_gains_nothing(tmp_path: Path) -> None:
    summary = run_toy(tmp_path, trials=30, patience_trials=4)
    assert summary.reason == "the last 4 finished trials brought no gain of hypervolume (patience_trials)"
    assert not summary.interrupted
    assert summary.study.counts()["done"] == 5
    summary = run_toy(tmp_path, trials=30, patience_trials=6)
    assert summary.study.counts()["done"] == 7, "more patience goes on"
