"""Trials read by columns are those that Optuna's own storage reads."""

from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from paredown.studies.optuna_storage import ColumnStorage

DISTRIBUTIONS = {
    "depth": IntDistribution(1, 9),
    "rate": FloatDistribution(1e-5, 1.0, log=True),
    "act": CategoricalDistribution(("relu", None, 3, True)),
}


def fill(storage: RDBStorage) -> optuna.Study:
    """Make a study of trials of every kind."""
    study = optuna.create_study(storage=storage, study_name="kinds", directions=["minimize", "maximize"])
    study.sampler = optuna.samplers.RandomSampler(0)
    for number in range(12):
        trial = study.ask(DISTRIBUTIONS)
        trial.set_user_attr("note", {"number": number})
        trial.set_constraint("size", number - 5.0)
        storage.set_trial_intermediate_value(trial._trial_id, 1, float("inf") if number == 3 else 0.5)
        if number % 4 == 1:
            study.tell(trial, state=TrialState.PRUNED)
        elif number % 4 == 2:
            study.tell(trial, state=TrialState.FAIL)
        elif number != 11:
            study.tell(trial, [float("inf"), -1.0 * number])
    study.enqueue_trial({"depth": 2})
    study.ask()
    study.enqueue_trial({"depth": 3})
    return study


def test_all_trials_are_equal(database: str, tmp_path: Path) -> None:
    own, ours = RDBStorage(database), ColumnStorage(database)
    study = fill(own)
    other = optuna.create_study(storage=own, study_name="other", directions=["minimize"])
    other.tell(other.ask(), 1.0)
    try:
        for wanted in (study, other):
            expected = own.get_all_trials(wanted._study_id)
            assert ours.get_all_trials(wanted._study_id) == expected
            assert expected
        which = (study._study_id, (TrialState.RUNNING, TrialState.COMPLETE))
        assert ours.get_all_trials(which[0], states=which[1]) == own.get_all_trials(which[0], states=which[1])
        ids = [trial._trial_id for trial in own.get_all_trials(study._study_id)]
        some = (study._study_id, None, {ids[2], ids[4], 10**6}, ids[5])
        assert ours._get_trials(*some) == own._get_trials(*some)
        assert [trial._trial_id for trial in ours._get_trials(*some)][:3] == [ids[2], ids[4], ids[6]]
        assert ours._get_trials(study._study_id, None, set(), 10**6) == []
        with pytest.raises(KeyError):
            ours.get_all_trials(10**6)
    finally:
        for wanted in (study, other):
            own.delete_study(wanted._study_id)
