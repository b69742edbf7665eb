"""A long trial that is cut off goes on after its latest epoch, and comes to what it would have come to."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from paredown.evaluators.errors import TrialInterrupted
from paredown.evaluators.files.names import WEIGHTS_FILE
from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.measurement import Objective
from paredown.evaluators.tasks.spec import TaskSpec
from paredown.evaluators.training import fit as fit_module
from paredown.evaluators.training.fit import TrainingPlan
from paredown.search.trial import epoch_checkpoint
from paredown.search.trial.epoch_checkpoint import CHECKPOINT_FOLDER, EpochCheckpoint
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial.run_trial import run_trial
from paredown.spaces.candidate import Candidate
from paredown.studies.result import TrialResult

KNOBS: dict[str, Any] = {
    "scaling": "free",
    "depth": 1.0,
    "width": 0.5,
    "resolution": 8,
    "kernel": 3,
    "expansion": 2,
    "squeeze_excite": False,
    "activation": "relu",
}
PRUNED = Candidate("mbconv", KNOBS, {"channel_pruning": {"ratio": 0.25}})
OBJECTIVES = tuple(Objective(EVALUATORS[name].metric) for name in ("accuracy", "size_bytes"))
EPOCHS, FINETUNE_EPOCHS = 4, 3


def plan_in(folder: Path) -> TrialPlan:
    training = TrainingPlan(epochs=EPOCHS, finetune_epochs=FINETUNE_EPOCHS, learning_rate=6e-3, accelerator="cpu")
    return TrialPlan(TaskSpec("digits", "{}", Path()), OBJECTIVES, training, folder, threads=1)


def weights(plan: TrialPlan, result: TrialResult) -> dict[str, torch.Tensor]:
    assert result.outcome == "done", result.reason
    return load_file(plan.folder / result.artifact / WEIGHTS_FILE)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrialResult, dict[str, torch.Tensor]]:
    """What the trial comes to where nothing interrupts it and nothing is kept."""
    plan = plan_in(tmp_path_factory.mktemp("whole"))
    result = run_trial(PRUNED, plan)
    assert not (plan.folder / CHECKPOINT_FOLDER).exists(), "a short trial writes nothing"
    return result, weights(plan, result)


@pytest.mark.parametrize("cut_in", [2, EPOCHS + 1], ids=["training", "fine-tuning"])
@pytest.mark.parametrize("cached", [True, False], ids=["cache", "no cache"])
def test_a_resumed_trial_is_bit_for_bit_the_uninterrupted_one(
    cut_in: int,
    cached: bool,
    whole: tuple[TrialResult, dict[str, torch.Tensor]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(epoch_checkpoint, "EVERY_S", 0.0)
    plan = plan_in(tmp_path)
    if not cached:
        plan = dataclasses.replace(plan, training=dataclasses.replace(plan.training, cache_bytes=0))

    def interrupt(epoch: int, metrics: dict[str, float]) -> str:
        if epoch == cut_in:
            raise TrialInterrupted("the search ends")
        return ""

    with pytest.raises(TrialInterrupted):
        run_trial(PRUNED, plan, interrupt)
    stages = {file.stem.rpartition("-")[2] for file in (tmp_path / CHECKPOINT_FOLDER).iterdir()}
    assert stages == ({"train"} if cut_in < EPOCHS else {"train", "finetune"})
    torch.manual_seed(99)

    told: list[int] = []
    resumed = run_trial(PRUNED, plan, lambda epoch, metrics: told.append(epoch) or "")  # type: ignore[func-returns-value]
    assert told == list(range(EPOCHS + FINETUNE_EPOCHS)), "the epochs before are told again"
    assert resumed.curve == whole[0].curve
    assert {n: m.value for n, m in resumed.measurements.items() if n != "latency_ms"} == {
        n: m.value for n, m in whole[0].measurements.items() if n != "latency_ms"
    }
    found = weights(plan, resumed)
    assert found.keys() == whole[1].keys()
    for name, tensor in whole[1].items():
        assert torch.equal(found[name], tensor), name
    assert list((tmp_path / CHECKPOINT_FOLDER).iterdir()) == [], "nothing is left of a trial that has ended"


def test_the_epochs_before_are_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch_checkpoint, "EVERY_S", 0.0)
    from paredown.evaluators.training.fit import _Course

    plan, trained, epoch = plan_in(tmp_path), [], _Course.epoch

    def counted(course: Any, on_batch: Any) -> float:
        trained.append(1)
        return epoch(course, on_batch)

    monkeypatch.setattr(_Course, "epoch", counted)

    def interrupt(epoch: int, metrics: dict[str, float]) -> str:
        if epoch == 2 and len(trained) == 3:
            raise TrialInterrupted("the search ends")
        return ""

    with pytest.raises(TrialInterrupted):
        run_trial(PRUNED, plan, interrupt)
    run_trial(PRUNED, plan, interrupt)
    assert len(trained) == 3 + (EPOCHS - 2) + FINETUNE_EPOCHS, "the third epoch was cut off before it was kept"


def test_a_damaged_checkpoint_is_dropped(tmp_path: Path) -> None:
    file = tmp_path / "one.pt"
    file.write_bytes(b"half of")
    assert EpochCheckpoint(file).load() is None
    assert not file.exists()
    EpochCheckpoint(file).save({"done": 3})
    assert EpochCheckpoint(file).load() == {"done": 3}
    file.write_bytes(file.read_bytes()[:100])
    assert EpochCheckpoint(file).load() is None


ZEROS = {"ratio": 0.5, "scope": "global", "pattern": "none"}
HELD = {
    "masks": {"unstructured_pruning": {**ZEROS, "schedule": "one_shot"}},
    "a rising share": {"unstructured_pruning": {**ZEROS, "schedule": "gradual"}},
    "stripes": {"stripe_pruning": {"ratio": 0.25, "axis": "stripe"}},
    "transform": {"transform_sparsity": {"domain": "dct", "rule": "ratio", "amount": 0.5}},
    "a grid": {
        "quantization": {
            "weights": "int8",
            "activations": "uint8",
            "calibration": "minmax",
            "aware": True,
            "max_drop": 0.0,
        }
    },
    "all": {
        "channel_pruning": {"ratio": 0.25},
        "unstructured_pruning": {**ZEROS, "schedule": "gradual"},
        "quantization": {"weights": "int4", "aware": True},
    },
}
"""Steps that hold something through fine-tuning, some with a state that grows."""


@pytest.mark.parametrize("cut_in", [EPOCHS + 1, None], ids=["fine-tuning", "after it"])
@pytest.mark.parametrize("held", HELD)
def test_a_fine_tuning_that_holds_something_goes_on_bit_for_bit(
    held: str, cut_in: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cut off after an epoch that was kept, or where the file is about to be written."""
    monkeypatch.setattr(epoch_checkpoint, "EVERY_S", 0.0)
    candidate = Candidate("mbconv", KNOBS, HELD[held])
    whole = run_trial(candidate, plan_in(tmp_path / "whole"))
    plan, trained, epoch = plan_in(tmp_path / "cut"), list[int](), fit_module._Course.epoch

    def interrupt(epoch: int, metrics: dict[str, float]) -> str:
        if epoch == cut_in:
            raise TrialInterrupted("the search ends")
        return ""

    def counted(course: Any, on_batch: Any) -> float:
        trained.append(1)
        return epoch(course, on_batch)

    with monkeypatch.context() as patch:
        if cut_in is None:
            patch.setattr("paredown.search.trial.training_stages.recalibrate", _cut_off)
        with pytest.raises(TrialInterrupted):
            run_trial(candidate, plan, interrupt)
    torch.manual_seed(99)
    monkeypatch.setattr(fit_module._Course, "epoch", counted)
    resumed = run_trial(candidate, plan)
    kept = 1 if cut_in else FINETUNE_EPOCHS
    assert len(trained) == FINETUNE_EPOCHS - kept, "neither training nor the epochs that were kept run again"
    assert resumed.curve == whole.curve
    expected, found = weights(plan_in(tmp_path / "whole"), whole), weights(plan, resumed)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def _cut_off(*arguments: Any) -> None:
    raise TrialInterrupted("the search ends")
