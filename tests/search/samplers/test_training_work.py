"""How much work a candidate is, on the default study."""

from pathlib import Path

import pytest

from paredown.search.run import problem_of
from paredown.search.samplers.surrogate.training_work import FIXED
from paredown.search.study_file.schema import read_config
from paredown.search.study_file.setup import set_up
from paredown.studies.study import Study


def test_work_grows_with_the_network_and_falls_where_it_is_trained(tmp_path: Path) -> None:
    setup = set_up(read_config(None, {}), "default study", tmp_path, tmp_path / "out")
    objectives = setup.plan.objectives
    study = Study.create(f"sqlite:///{tmp_path}/s.db", "s", setup.stored, objectives, str(tmp_path / "out"))
    space, work = setup.space, problem_of(setup, study).work
    baseline = space.values(space.baseline)
    small = baseline | {"mbconv.phi": 0.0}
    pruned = baseline | {"channel_pruning.ratio": 0.5}
    taught = baseline | {"distillation.weight": max(space.knobs["distillation.weight"].values)}
    alone = work([baseline, small, pruned, taught], [])
    assert alone[0] == pytest.approx(1.3, rel=0.1), "its own training, and what any network takes"
    assert alone[1] < 0.5
    assert alone[2] == pytest.approx(alone[0]), "training is over before a network is pruned"
    beside = work([baseline, small, pruned, taught], [pruned])
    training = setup.plan.training
    finetuning = training.finetune_epochs / (training.epochs + training.finetune_epochs)
    assert beside[2] == pytest.approx(FIXED + finetuning * (alone[2] - FIXED)), "only fine-tuning is left"
    assert beside[0] == beside[2]
    assert beside[1] == alone[1]
    assert beside[3] == alone[3], "a taught network is another one"
