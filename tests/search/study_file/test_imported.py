"""A network of the user in a study: what is wrong with it is said before anything runs; it is searched like others."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from paredown.evaluators.build import count_costs, rebuild
from paredown.evaluators.files.names import WEIGHTS_FILE
from paredown.evaluators.tasks.spec import load_task
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.inference import score
from paredown.search.errors import ConfigError
from paredown.search.study_file.schema import read_config
from paredown.search.study_file.setup import Setup, set_up
from paredown.search.study_file.stored import stored_space
from paredown.search.trial.run_trial import run_trial
from paredown.spaces.candidate import Candidate
from paredown.spaces.families.catalogue import FAMILIES

NETS = """
import torch
from torch import nn

class Twice(nn.Module):
    def __init__(self, channels=1, classes=10):
        super().__init__()
        self.stem = nn.Conv2d(channels, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.body = nn.Conv2d(8, 8, 3, padding=1)
        self.same = self.body
        self.head = nn.Linear(8, classes)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        return self.head(self.same(self.body(x).relu()).mean((2, 3)))

ONE = Twice()

def made(channels, classes):
    return Twice(channels, classes)

def shared_instance():
    return ONE

def of_eight_pixels():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

def of_one_image():
    return nn.Sequential(nn.Flatten(0), nn.Linear(64, 10))

def seven(channels, classes):
    return Twice(channels, 7)

def tower():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(10))

def no_network():
    return 3

def bare():
    return nn.Flatten()

def raises():
    raise OSError("no disk")

def needs(width):
    return Twice()
"""
STUDY = """
study: mine
task: digits
objectives: [accuracy, size_bytes]
model: user_nets:made
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("user")
    (where / "user_nets.py").write_text(NETS)
    sys.path.insert(0, str(where))
    import user_nets  # type: ignore[import-not-found]

    torch.manual_seed(0)
    state = user_nets.Twice().state_dict()
    torch.save(state, where / "right.pt")
    save_file({k: v.clone() for k, v in state.items()}, where / "right.safetensors")
    wrong = {"head.bias": torch.zeros(3), "extra": torch.zeros(1)}
    torch.save({k: v for k, v in state.items() if not k.startswith("norm")} | wrong, where / "wrong.pt")
    torch.save({"epoch": 3}, where / "epoch.pt")
    torch.save(user_nets.Twice(), where / "whole.pt")
    (where / "text.safetensors").write_text("no weights")
    return where


def setup_of(folder: Path, more: str, text: str = STUDY) -> Setup:
    file = folder / "study.yaml"
    file.write_text(text + more)
    return set_up(read_config(file, {}), "study.yaml", folder, folder / "out")


@pytest.mark.parametrize(
    ("text", "begins", "holds"),
    [
        ("model: gone:made", "model: cannot import 'gone'", ""),
        ("model: user_nets", "model: 'user_nets' is not of the form", "package.module:function"),
        ("model: user_nets:gone", "model: user_nets has no function 'gone'", ""),
        ("model: user_nets:ONE", "model: user_nets:ONE is a network", "function or class that returns one"),
        ("model: user_nets:no_network", "model: user_nets:no_network returned int", "no nn.Module"),
        ("model: user_nets:bare", "model: user_nets:bare returned a network without parameters", ""),
        ("model: user_nets:raises", "model: user_nets:raises raised OSError: no disk", ""),
        ("model: user_nets:needs", "model: user_nets:needs needs width", "no arguments, or channels and classes"),
        ("model: user_nets:seven", "model: user_nets:seven returns n x 7 for n x 1 x 32 x 32", "needed: n x 10"),
        ("model: user_nets:tower", "model: user_nets:tower cannot take 1 x 32 x 32 images", "channels"),
        ("model: user_nets:of_eight_pixels", "model: user_nets:of_eight_pixels cannot take", "it takes images of 8 px"),
        ("model: user_nets:of_one_image", "model: user_nets:of_one_image cannot take", "RuntimeError"),
        ("model: user_nets:made\nweights: gone.pt", "weights: no file ", "gone.pt"),
        (
            "model: user_nets:made\nweights: wrong.pt",
            "weights: wrong.pt does not fit the model; missing: norm.weight, norm.bias, norm.running_mean, "
            "norm.running_var; unexpected: extra; of other shape: head.bias (3, needed 10)",
            "",
        ),
        ("model: user_nets:made\nweights: epoch.pt", "weights: ", "holds no state dict"),
        ("model: user_nets:made\nweights: whole.pt", "weights: ", "weights_only=True"),
        ("model: user_nets:made\nweights: text.safetensors", "weights: ", "cannot be read"),
        ("model: user_nets:made\nspace: {families: [mbconv]}", "model: needs the family imported", "given: mbconv"),
        ("space: {families: [imported]}", "space.families: imported needs the key model", ""),
        ("weights: right.pt", "weights: needs the network that they belong to", "model: package.module:function"),
        ("training: {epochs: 0}", "training.epochs: 0 is not allowed", "allowed: 1 or more"),
        (
            "model: user_nets:made\nweights: right.pt\nspace: {families: [imported, mbconv]}",
            "training.epochs: 0 is not allowed",
            "the only family",
        ),
        ("model: user_nets:made\nspace: {knobs: {imported.resolution: 9}}", "space.knobs: imported.resolution: 9", "8"),
        ("model: 3", "model: ", "(got 3)"),
    ],
)
def test_what_is_wrong_with_a_network_is_named(folder: Path, text: str, begins: str, holds: str) -> None:
    with pytest.raises(ConfigError) as refused:
        setup_of(folder, text, STUDY.replace("model: user_nets:made\n", ""))
    said = str(refused.value)
    assert said.split(": ", 1)[0].endswith("study.yaml")
    assert said.split(": ", 1)[1].startswith(begins)
    assert holds in said


def test_weights_start_it_trained(folder: Path) -> None:
    for weights in ("right.pt", "right.safetensors"):
        setup = setup_of(folder, f"weights: {weights}\nspace: {{knobs: {{imported.resolution: 8}}}}\n")
        assert (setup.plan.training.epochs, setup.config.space.families) == (0, ["imported"])
        network = FAMILIES["imported"].build(setup.space.baseline.knobs, (1, 8, 8), 10)
        expected = torch.load(folder / "right.pt", weights_only=True)
        assert all(torch.equal(v, expected[k]) for k, v in network.state_dict().items())
    more = setup_of(folder, "weights: right.pt\ntraining: {epochs: 2}\nspace: {steps: [low_rank]}\n")
    assert (more.plan.training.epochs, list(more.space.steps)) == (2, ["low_rank"])


def test_other_weights_are_another_candidate_and_changed_ones_are_refused(folder: Path) -> None:
    (folder / "mine.pt").write_bytes((folder / "right.pt").read_bytes())
    first = setup_of(folder, "weights: mine.pt\n")
    state = torch.load(folder / "right.pt", weights_only=True)
    torch.save(state | {"head.bias": state["head.bias"] + 1}, folder / "mine.pt")
    second = setup_of(folder, "weights: mine.pt\n")
    assert first.space.baseline.digest != second.space.baseline.digest
    result = run_trial(first.space.baseline, first.plan)
    assert (result.outcome, "mine.pt has changed since the study began" in result.reason) == ("failed", True)
    assert stored_space(second.stored).baseline == second.space.baseline


def test_what_the_function_returns_is_never_trained_itself(folder: Path) -> None:
    import user_nets

    setup = setup_of(folder, "", STUDY.replace("made", "shared_instance"))
    before = {k: v.clone() for k, v in user_nets.ONE.state_dict().items()}
    network = FAMILIES["imported"].build(setup.space.baseline.knobs, (1, 32, 32), 10)
    assert network.training
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert all(torch.equal(v, before[k]) for k, v in user_nets.ONE.state_dict().items())


def test_a_resolution_it_cannot_take_is_rejected_and_not_failed(folder: Path) -> None:
    text = STUDY.replace("made", "of_eight_pixels") + "space: {baseline: {imported.resolution: 8}}\n"
    setup = setup_of(folder, "", text)
    fits = setup.space.baseline
    other = Candidate("imported", {**fits.knobs, "resolution": 12})
    result = run_trial(other, setup.plan)
    assert result.outcome == "rejected"
    assert "user_nets:of_eight_pixels cannot take 1 x 12 x 12 images" in result.reason
    assert count_costs(fits, setup.task) is not None


def test_it_is_compressed_without_training_and_comes_back(folder: Path, tmp_path: Path) -> None:
    setup = setup_of(folder, "weights: right.pt\nspace: {knobs: {imported.resolution: 8}}\n")
    plan = replace(setup.plan, folder=tmp_path, threads=1, training=replace(setup.plan.training, finetune_epochs=1))
    task, data = load_task(plan.task), TrainingData.of(setup.task, 8)
    plain = run_trial(setup.space.baseline, plan)
    assert plain.reason == ""
    assert (plain.outcome, plain.curve) == ("done", ())
    as_given = FAMILIES["imported"].build(setup.space.baseline.knobs, (1, 8, 8), 10)
    assert plain.measurements["accuracy"].value == pytest.approx(score(as_given, data.validation, data.normalise)[0])

    pruned = Candidate("imported", setup.space.baseline.knobs, {"channel_pruning": {"ratio": 0.5}})
    result = run_trial(pruned, plan)
    assert (result.outcome, result.reason) == ("done", "")
    assert len(result.curve) == 1
    network, _ = rebuild(pruned, task, tmp_path / result.artifact / WEIGHTS_FILE)
    assert score(network, data.validation, data.normalise)[0] == pytest.approx(
        result.measurements["accuracy"].value, abs=1e-6
    )
