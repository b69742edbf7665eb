"""Whom distillation learns from: the baseline, or a network of the user's; mistakes are named before anything runs."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from commands import Said
from safetensors.numpy import load_file
from torch import nn

from paredown.evaluators.files.names import MODEL_FILE, TEACHER_FILE
from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.evaluation_input import Baseline
from paredown.evaluators.metrics.measurement import Objective
from paredown.evaluators.tasks.spec import TaskSpec, load_task
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.fit import TrainingPlan
from paredown.evaluators.training.teacher import (
    TeacherRefused,
    TeacherSpec,
    build_teacher,
    network_digest,
    teacher_outputs,
)
from paredown.search.errors import ConfigError
from paredown.search.study_file.schema import read_config
from paredown.search.study_file.setup import Setup, set_up
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial.run_trial import run_trial
from paredown.spaces.candidate import Candidate

DIGITS = TaskSpec("digits", "{}", Path())
KNOBS = {
    "scaling": "free",
    "depth": 1.0,
    "width": 0.75,
    "resolution": 8,
    "kernel": 3,
    "expansion": 2,
    "squeeze_excite": False,
    "activation": "relu",
}
MODULE = """
import torch
from torch import nn

calls = []

def any_size(channels, classes):
    calls.append(1)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, classes))
    return nn.Sequential(nn.Conv2d(channels, 6, 3), nn.ReLU(), head)

def for_8_pixels():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

def seven_classes():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))

def number():
    return 3

def broken():
    raise ValueError("no such thing")

class Tuple(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = for_8_pixels()

    def forward(self, x):
        return self.inner(x), x
"""
STUDY = """
study: s
task: digits
objectives: [accuracy, size_bytes]
space:
  steps: [distillation]
  knobs: {mbconv.scaling: free, mbconv.width: 0.5, mbconv.depth: 1.0, mbconv.resolution: 8}
distillation: {teacher: "TEACHER"}
"""


def folder_with(folder: Path, name: str) -> str:
    """Write the functions into a module of that name; one process imports a name once."""
    (folder / f"{name}.py").write_text(MODULE)
    return name


def setup(folder: Path, teacher: str, more: str = "", text: str = STUDY) -> Setup:
    file = folder / "study.yaml"
    file.write_text(text.replace("TEACHER", teacher).replace('"}', f'"{more}}}'))
    return set_up(read_config(file, {}), str(file), folder, folder / "out")


def refusal(folder: Path, teacher: str, more: str = "", text: str = STUDY) -> str:
    with pytest.raises(ConfigError) as refused:
        setup(folder, teacher, more, text)
    assert not (folder / "out").exists()
    said = str(refused.value)
    assert said.startswith(f"{folder / 'study.yaml'}: distillation.")
    return said.partition(": distillation.")[2]


def test_the_baseline_is_the_default(tmp_path: Path) -> None:
    assert setup(tmp_path, "baseline").plan.teacher is None
    assert "distillation" not in setup(tmp_path, "baseline").stored, "studies of before go on"


def test_a_network_of_the_users_is_in_the_plan_as_plain_data(tmp_path: Path) -> None:
    module = folder_with(tmp_path, "teacher_plain")
    made = setup(tmp_path, f"{module}:for_8_pixels")
    spec = made.plan.teacher
    assert spec == TeacherSpec(f"{module}:for_8_pixels", tmp_path.absolute(), digest=spec.digest if spec else "")
    assert made.stored["distillation"]["digest"] == spec.digest
    assert len(spec.digest) == 64


@pytest.mark.parametrize(
    ("function", "more", "begins", "holds"),
    [
        ("seven_classes", "", "teacher: ", "gives (2, 7) for 2 images; needed: (2, 10)"),
        ("number", "", "teacher: ", "returned int, no nn.Module"),
        ("broken", "", "teacher: ", "raised ValueError: no such thing"),
        ("nothing", "", "teacher: ", "has no function 'nothing'"),
        ("Tuple", "", "teacher: ", "gives tuple for 2 images"),
        ("for_8_pixels", ", resolution: 16", "teacher: ", "cannot take 2 x 1 x 16 x 16 images: RuntimeError"),
        ("for_8_pixels", ", resolution: 7", "resolution: 7 is not allowed", "allowed: 8 to "),
        ("for_8_pixels", ", weights: gone.safetensors", "weights: ", "no file "),
        ("for_8_pixels", ", weights: gone.pt", "weights: ", "gone.pt"),
        ("for_8_pixels", ", weights: study.yaml", "weights: ", "study.yaml is no state dict that loads"),
        ("for_8_pixels", ", weights: number.pt", "weights: ", "number.pt holds no state dict"),
        ("for_8_pixels", ", weights: code.pt", "weights: ", "code.pt is no state dict that loads"),
        ("for_8_pixels", ", weights: other.pt", "weights: other.pt does not fit", "missing: "),
        ("for_8_pixels", ", wieghts: a", "wieghts: no such key", "teacher, weights, resolution"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, function: str, more: str, begins: str, holds: str) -> None:
    module = folder_with(tmp_path, "teacher_wrong")
    torch.save(3, tmp_path / "number.pt")
    torch.save(nn.Linear(2, 2), tmp_path / "code.pt")  # a pickle of a whole module is code, and is not run
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pt")
    said = refusal(tmp_path, f"{module}:{function}", more)
    assert said.startswith(begins)
    assert holds in said
    sys.modules.pop(module, None)


def test_a_teacher_that_nobody_or_no_network_of_yours_is_asked_for_is_refused(tmp_path: Path) -> None:
    module = folder_with(tmp_path, "teacher_unasked")
    without = STUDY.replace("steps: [distillation]", "steps: [low_rank]")
    assert "add distillation to space.steps" in refusal(tmp_path, f"{module}:any_size", text=without)
    with pytest.raises(ConfigError, match="distillation: weights belongs to a network of yours"):
        setup(tmp_path, "baseline", ", weights: a.pt")


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_weights_are_loaded_and_change_the_digest(tmp_path: Path, suffix: str) -> None:
    module = folder_with(tmp_path, f"teacher_weights_{suffix}")
    save = torch.save if suffix == "pt" else safetensors.torch.save_file
    state = {"1.weight": torch.ones(10, 64), "1.bias": torch.arange(10.0)}
    save(state, tmp_path / f"w.{suffix}")
    spec = setup(tmp_path, f"{module}:for_8_pixels", f", weights: w.{suffix}").plan.teacher
    assert spec is not None
    network = build_teacher(spec, load_task(DIGITS))
    assert torch.equal(network(torch.ones(1, 1, 8, 8)), 64 + torch.arange(10.0)[None])
    assert not network.training
    save(state | {"1.bias": torch.zeros(10)}, tmp_path / f"w.{suffix}")
    with pytest.raises(TeacherRefused, match="have changed since the study began"):
        build_teacher(spec, load_task(DIGITS))


def test_its_answers_are_computed_once_for_each_resolution(tmp_path: Path) -> None:
    module, task, cpu = folder_with(tmp_path, "teacher_cached"), load_task(DIGITS), torch.device("cpu")
    spec = TeacherSpec(f"{module}:any_size", tmp_path)
    network = build_teacher(spec, task)
    spec = dataclasses.replace(spec, digest=network_digest(network))
    calls = sys.modules[module].calls
    first = teacher_outputs(spec, task, 8, tmp_path / "out", cpu)
    count = len(calls)
    again = teacher_outputs(spec, task, 8, tmp_path / "out", cpu)
    assert len(calls) == count, "the second time it is read"
    assert all(np.array_equal(first[k], again[k]) for k in ("logits", "features"))
    data = TrainingData.of(task, 8)
    with torch.inference_mode():
        expected = network(torch.from_numpy(data.normalise(data.train.images)))
    np.testing.assert_allclose(first["logits"], expected.numpy(), atol=1e-5)
    assert first["features"].shape == (len(data.train.images), 6)
    teacher_outputs(spec, task, 12, tmp_path / "out", cpu)
    fixed = dataclasses.replace(spec, resolution=12)
    teacher_outputs(fixed, task, 8, tmp_path / "out", cpu)
    files = [p.name for p in (tmp_path / "out" / "teachers").iterdir()]
    assert sorted(name.partition("-")[2] for name in files) == ["12.safetensors", "8.safetensors"]


def test_a_trial_learns_from_it_with_hints(tmp_path: Path) -> None:
    """A teacher that is sure of the class after the right one: the student believes it, not the labels."""
    module, task = folder_with(tmp_path, "teacher_of_trial"), load_task(DIGITS)
    data = TrainingData.of(task, 8)
    images = torch.from_numpy(data.normalise(data.train.images)).flatten(1)
    targets = nn.functional.one_hot((torch.from_numpy(data.train.labels) + 1) % 10, 10).float()
    weight = torch.linalg.lstsq(torch.cat([images, torch.ones(len(images), 1)], 1), targets, driver="gelsd").solution
    torch.save({"1.weight": 20 * weight[:-1].T.contiguous(), "1.bias": 20 * weight[-1]}, tmp_path / "w.pt")
    spec = TeacherSpec(f"{module}:for_8_pixels", tmp_path, "w.pt")
    spec = dataclasses.replace(spec, digest=network_digest(build_teacher(spec, task)))
    objectives = tuple(Objective(EVALUATORS[name].metric) for name in ("accuracy", "size_bytes"))
    training = TrainingPlan(epochs=4, finetune_epochs=0, learning_rate=6e-3, precision="tf32", accelerator="cpu")
    plan = TrialPlan(DIGITS, objectives, training, tmp_path / "out", threads=1, teacher=spec)
    steps = {"distillation": {"weight": 0.9, "temperature": 1, "hints": 1.0}}
    result = run_trial(Candidate("mbconv", KNOBS, steps), plan)
    assert result.outcome == "done", result.reason
    assert result.measurements["accuracy"].value < 0.2
    assert result.facts["precision"] == "tf32: no effect on this device (cpu): it has no TF32"
    said = load_file(tmp_path / "out" / result.artifact / TEACHER_FILE)
    assert said["features"].shape[0] == len(said["logits"]) == len(images)

    unable = dataclasses.replace(plan, teacher=None, keeps_features=False)
    first = run_trial(Candidate("mbconv", KNOBS), unable)
    artifact = tmp_path / "out" / first.artifact
    assert set(load_file(artifact / TEACHER_FILE)) == {"logits"}
    follower = dataclasses.replace(
        unable, baseline=Baseline(artifact / MODEL_FILE, (1, 8, 8), first.measurements["latency_ms"].value)
    )
    failed = run_trial(Candidate("mbconv", KNOBS, steps), follower)
    assert (failed.outcome, failed.reason) == (
        "failed",
        "distillation: the teacher's features were not stored, so there are no hints",
    )


@pytest.mark.slow
def test_the_command_leaves_with_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder_with(tmp_path, "teacher_command")
    (tmp_path / "study.yaml").write_text(STUDY.replace("TEACHER", "teacher_command:seven_classes"))
    monkeypatch.chdir(tmp_path)
    done = Said(capsys, "search", "study.yaml")
    assert done.code == 2, done.err
    assert "study.yaml: distillation.teacher: teacher_command:seven_classes gives (2, 7)" in done.err
    assert not list(tmp_path.glob("*.db"))
