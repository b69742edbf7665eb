"""Trained networks that come from the cache: the trial is the same as if they had been trained again."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import supernets

from paredown.evaluators.build import build
from paredown.evaluators.files.names import MODEL_FILE
from paredown.evaluators.metrics.evaluation_input import Baseline
from paredown.evaluators.metrics.measurement import Objective
from paredown.search.errors import ConfigError
from paredown.search.study_file import quantity
from paredown.search.trial.checkpoint_cache import CheckpointCache
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial.pretraining import CACHE_FOLDER, pretraining_digest
from paredown.search.trial.run_trial import run_trial
from paredown.spaces.candidate import Candidate
from paredown.spaces.earlier_names import present_name
from paredown.studies.result import STOPPED_KEY, TrialResult

KNOBS = {
    "scaling": "free",
    "depth": 1.0,
    "width": 0.5,
    "resolution": 8,
    "kernel": 3,
    "expansion": 2,
    "squeeze_excite": False,
    "activation": "relu",
}
PLAIN = Candidate("mbconv", KNOBS)
PRUNED = Candidate("mbconv", KNOBS, {"channel_pruning": {"ratio": 0.25}})
TAUGHT = Candidate("mbconv", KNOBS, {"distillation": {"weight": 0.5, "temperature": 2}})
EXITS = {"exits": 1, "after": "", "head": "linear", "rule": "confidence", "threshold": 0.7, "weight": 1.0}
WITH_EXITS = Candidate("mbconv", KNOBS, {"early_exit": EXITS})


def plan_in(folder: Path, **training: Any) -> TrialPlan:
    plan = supernets.study(folder, **{"mode": "scratch", **training}).plan
    return dataclasses.replace(plan, threads=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrialPlan, TrialResult]:
    """A folder in which the plain network was trained."""
    plan = plan_in(tmp_path_factory.mktemp("study"))
    return plan, run_trial(PLAIN, plan)


def test_another_compression_takes_the_trained_network(trained: tuple[TrialPlan, TrialResult], tmp_path: Path) -> None:
    plan, first = trained
    reused, alone = run_trial(PRUNED, plan), run_trial(PRUNED, plan_in(tmp_path))
    assert "trained_before" not in first.facts
    assert "trained_before" not in alone.facts
    assert (
        reused.facts["trained_before"] == pretraining_digest(PRUNED, plan)[:16] == pretraining_digest(PLAIN, plan)[:16]
    )
    assert reused.curve == alone.curve
    assert len(reused.curve) == 3, "two epochs replayed, one of fine-tuning"
    for name in ("accuracy", "params", "size_bytes"):
        assert reused.measurements[name].value == alone.measurements[name].value


def test_a_trial_of_the_baselines_network_waits_for_its_training(
    trained: tuple[TrialPlan, TrialResult], tmp_path: Path
) -> None:
    done, first = trained
    baseline = Baseline(done.folder / first.artifact / MODEL_FILE, (1, 8, 8), first.measurements["latency_ms"].value)
    asked: list[str] = []

    def reference() -> tuple[Baseline, tuple[Objective, ...]]:
        asked.append("baseline")
        return baseline, done.objectives

    plan = dataclasses.replace(done, reference_network=PLAIN, awaits_baseline=True, reference=reference)
    assert plan.before_training(PRUNED).baseline == baseline
    assert asked == ["baseline"]
    assert plan.before_training(dataclasses.replace(PRUNED, knobs=KNOBS | {"width": 0.75})) is plan
    assert asked == ["baseline"], "it trains a network of its own"


def test_a_network_trained_before_its_layers_had_names_is_taken(
    trained: tuple[TrialPlan, TrialResult], tmp_path: Path
) -> None:
    plan, first = trained
    entry = CheckpointCache(plan.folder / CACHE_FOLDER, 1e9).get(pretraining_digest(PLAIN, plan))
    assert entry is not None
    network = build(PLAIN, (1, 8, 8), 10)
    numbers = [str(i) for i in range(12)]
    named = {present_name(network, name): name for i in numbers for name in (i, *(f"{i}.body.{j}" for j in range(8)))}
    numbered = {f"{named[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": t for key, t in entry.state.items()}
    assert {"0.weight", "3.body.0.weight", "11.weight"} < set(numbered)

    other = plan_in(tmp_path)
    key = pretraining_digest(PLAIN, other)
    CheckpointCache(other.folder / CACHE_FOLDER, 1e9).put(key, numbered, entry.notes)
    again = run_trial(PLAIN, other)
    assert again.facts["trained_before"] == key[:16]
    assert again.measurements["accuracy"].value == first.measurements["accuracy"].value


def test_a_cache_that_is_off_keeps_nothing(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, cache="off", epochs=1)
    for _ in range(2):
        assert "trained_before" not in run_trial(PLAIN, plan).facts
    assert not (plan.folder / CACHE_FOLDER).exists()


def test_a_replayed_curve_is_judged(trained: tuple[TrialPlan, TrialResult]) -> None:
    plan, first = trained
    told: list[tuple[int, float]] = []

    def stop_at_the_second(epoch: int, metrics: dict[str, float]) -> str:
        told.append((epoch, metrics["accuracy"]))
        return "not among the best" if epoch == 1 else ""

    result = run_trial(PRUNED, dataclasses.replace(plan, judged=True), stop_at_the_second)
    assert (result.outcome, result.reason) == ("stopped", "not among the best")
    assert told == [(epoch, metrics["accuracy"]) for epoch, metrics in first.curve]
    assert result.facts[STOPPED_KEY]["share"] == pytest.approx(2 / 3)


def test_a_trial_that_was_stopped_leaves_nothing(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    assert run_trial(PLAIN, plan, lambda epoch, metrics: "stop").outcome == "stopped"
    assert "trained_before" not in run_trial(PLAIN, plan).facts


def test_what_acts_in_training_makes_another_network(trained: tuple[TrialPlan, TrialResult], tmp_path: Path) -> None:
    plan, first = trained
    folder = plan.folder / first.artifact
    taught = dataclasses.replace(plan, baseline=Baseline(folder / MODEL_FILE, (1, 8, 8), 1.0))
    other = dataclasses.replace(plan, baseline=Baseline(tmp_path / MODEL_FILE, (1, 8, 8), 1.0))
    (tmp_path / "teacher.safetensors").write_bytes(b"another teacher")
    digests = {
        pretraining_digest(PLAIN, plan),
        pretraining_digest(Candidate("mbconv", KNOBS | {"kernel": 5}), plan),
        pretraining_digest(WITH_EXITS, plan),
        pretraining_digest(TAUGHT, taught),
        pretraining_digest(TAUGHT, other),
        *(
            pretraining_digest(
                PLAIN, dataclasses.replace(plan, training=dataclasses.replace(plan.training, **{key: 1}))
            )
            for key in ("epochs", "learning_rate", "batch_size", "seed", "patience")
        ),
        pretraining_digest(PLAIN, plan_in(tmp_path, mode="inherit")),
    }
    assert len(digests) == 11
    assert pretraining_digest(PLAIN, taught) == pretraining_digest(PLAIN, plan), "nobody teaches it"
    longer = dataclasses.replace(plan, training=dataclasses.replace(plan.training, finetune_epochs=9))
    assert pretraining_digest(PLAIN, longer) == pretraining_digest(PLAIN, plan), "fine-tuning comes after"


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("2GB", 2e9), ("500MB", 5e8), ("1.5GiB", 1.5 * 2**30), ("60k", 6e4), (7, 7), ("9B", 9)]
)
def test_sizes_are_read(text: str | int, size_bytes: float) -> None:
    assert quantity.size_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["large", "2TBs", -1, True, "nan"])
def test_what_is_no_size_is_refused(text: str | int) -> None:
    with pytest.raises(ConfigError, match="is not a size such as 500MB"):
        quantity.size_bytes(text)
