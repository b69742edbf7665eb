"""The supernet: what candidates take from it, what their gradients do to it, and how its training goes on."""

import math
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import supernets
import torch

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.supernet import sandwich
from paredown.evaluators.supernet.checkpoint import SupernetRecord
from paredown.evaluators.supernet.slicing import sliced
from paredown.evaluators.supernet.supernet import Supernet
from paredown.evaluators.tasks.spec import TaskSpec, load_task
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.fit import TrainingPlan
from paredown.evaluators.training.inference import recalibrate, score
from paredown.spaces.candidate import Candidate
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.families.mbconv import MBCONV
from paredown.spaces.knob import Range
from paredown.spaces.space import SearchSpace, joint_space

TASK = load_task(TaskSpec("digits", "{}", Path()))
PLAN = TrainingPlan(learning_rate=6e-3, supernet_epochs=3, mode="inherit", batch_size=32)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks gain nothing from more, and the order of additions is the same in every run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _space() -> SearchSpace:
    return joint_space({"mbconv": FAMILIES["mbconv"]}, {}, TASK.resolutions, supernets.KNOBS, {})


def _supernet() -> Supernet:
    return Supernet(_space(), 1, 10, seed=0)


def _candidates(supernet: Supernet) -> list[Candidate]:
    return [*supernet.largest, *supernet.smallest, *(supernet.space.draw(n) for n in range(4))]


def test_its_tensors_have_the_largest_sizes() -> None:
    supernet = _supernet()
    shapes = {name: tuple(tensor.shape) for name, tensor in supernet.tensors.items()}
    assert shapes["stem.weight"] == (8, 1, 3, 3), "8 * 0.75 channels, rounded to a multiple of 4"
    assert shapes["stages.1.0.depthwise.weight"] == (32, 1, 5, 5), "8 channels, expansion 4"
    assert shapes["stages.1.1.project.weight"] == (8, 32, 1, 1), "the second block, of depth 1.5"
    assert "stages.1.2.project.weight" not in shapes
    assert [c.knobs["width"] for c in supernet.largest] == [0.75]
    assert [c.knobs["width"] for c in supernet.smallest] == [0.5]


def test_uneven_numbers_of_a_study_file_span_it_too() -> None:
    knobs = supernets.KNOBS | {"mbconv.width": [0.5, 1.5, 0.75], "mbconv.resolution": 8}
    space = joint_space({"mbconv": FAMILIES["mbconv"]}, {}, TASK.resolutions, knobs, {})
    supernet, widths = Supernet(space, 1, 10, seed=0), set()
    assert [c.knobs["width"] for c in (*supernet.largest, *supernet.smallest)] == [1.5, 0.5]
    for number in range(12):
        candidate = space.draw(number)
        supernet.slices(candidate, supernet.build(candidate))
        widths.add(candidate.knobs["width"])
    assert widths == {0.5, 0.75, 1.5}


def test_the_smallest_are_trained_on_the_smallest_and_on_the_largest_images() -> None:
    knobs = supernets.KNOBS | {"mbconv.resolution": {"low": 8, "high": 16}}
    space = joint_space({"mbconv": FAMILIES["mbconv"]}, {}, TASK.resolutions, knobs, {})
    smallest = Supernet(space, 1, 10, seed=0).smallest
    assert sorted(int(c.knobs["resolution"]) for c in smallest) == [8, 16]
    assert {(c.knobs["width"], c.knobs["depth"], c.knobs["kernel"]) for c in smallest} == {(0.5, 1.0, 3)}


def test_networks_of_every_mixture_of_widths_fit_in() -> None:
    knobs = {"resnet.widths": "per_stage", "resnet.blocks": {"low": 1, "high": 2}, "resnet.resolution": 8}
    space = joint_space({"resnet": FAMILIES["resnet"]}, {}, TASK.resolutions, knobs, {})
    supernet, shrinking = Supernet(space, 1, 10, seed=0), 0
    for number in range(60):
        candidate = space.draw(number)
        network = supernet.build(candidate)
        assert len(supernet.slices(candidate, network)) == len(list(network.named_parameters()))
        has_weights = any("shortcut" in name for name, _ in network.named_parameters())
        shrinking += candidate.knobs["shortcut"] == "padded" and has_weights
    assert shrinking > 5, "padded shortcuts have weights where a stage is narrower than the one before"


def test_a_space_of_which_only_the_baseline_can_be_built_ends_in_words() -> None:
    knobs = {"mobilenet.stem": "image", "mobilenet.resolution": {"low": 8, "high": 28}}
    mobilenet = {"mobilenet": FAMILIES["mobilenet"]}
    space = joint_space(mobilenet, {}, Range(8, 64, 4), knobs, {"mobilenet.resolution": 64})
    with pytest.raises(EvaluationError, match=r"none of 1000 random networks of mobilenet can be built"):
        Supernet(space, 1, 10, seed=0).draw(random.Random(0))


def test_first_values_are_those_of_the_family() -> None:
    supernet = _supernet()
    for name, tensor in supernet.tensors.items():
        assert torch.isfinite(tensor).all(), name
        if name.endswith("norm.weight"):
            assert (tensor == 1).all(), name
        elif tensor.dim() > 1:
            assert 0 < tensor.std() < 2 / math.sqrt(tensor[0].numel()), name


def test_a_candidate_computes_what_a_network_of_sliced_weights_computes() -> None:
    supernet = _supernet()
    for candidate in _candidates(supernet):
        images = torch.randn(4, 1, 8, 8)
        network, shared = supernet.build(candidate).train(), MBCONV.shared_names
        assert shared is not None
        by_hand = {
            name: sliced(supernet.tensors[shared(candidate.knobs, name)], parameter.shape)
            for name, parameter in network.named_parameters()
        }
        network.load_state_dict(by_hand, strict=False)
        torch.testing.assert_close(supernet.logits(candidate, images), network(images))

        heir = supernet.build(candidate)
        supernet.copy_slice_into(candidate, heir)
        torch.testing.assert_close(heir.train()(images), network(images))
        next(heir.parameters()).data.zero_()
        assert supernet.tensors["stem.weight"].abs().sum() > 0, "an heir has weights of its own"


def test_gradients_reach_the_slices_and_nothing_else() -> None:
    supernet = _supernet()
    (smallest,) = supernet.smallest
    supernet.logits(smallest, torch.randn(8, 1, 8, 8)).square().sum().backward()
    gradient = supernet.tensors["stages.0.0.depthwise.weight"].grad
    assert gradient is not None
    assert gradient.shape == (32, 1, 5, 5)
    assert (gradient[:8, :, 1:4, 1:4] != 0).any(), "4 channels, expansion 2, kernel 3"
    outside = gradient.clone()
    outside[:8, :, 1:4, 1:4] = 0
    assert (outside == 0).all()
    assert supernet.tensors["stages.0.1.project.weight"].grad is None, "a block it does not have"


def test_a_candidate_outside_the_space_is_refused() -> None:
    supernet = _supernet()
    knobs = dict(supernet.largest[0].knobs)
    wide, deep = Candidate("mbconv", knobs | {"width": 2.0}), Candidate("mbconv", knobs | {"depth": 4.0})
    with pytest.raises(ValueError, match=r"mbconv: .* is no part of"):
        supernet.copy_slice_into(wide, supernet.build(wide))
    with pytest.raises(ValueError, match=r"mbconv: .* has no tensor in the supernet"):
        supernet.copy_slice_into(deep, supernet.build(deep))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Supernet, SupernetRecord]:
    supernet = _supernet()
    file = tmp_path_factory.mktemp("supernet") / "s.safetensors"
    return supernet, sandwich.train(supernet, TASK, PLAN, file, lambda record: True)


def test_it_learns(trained: tuple[Supernet, SupernetRecord]) -> None:
    supernet, record = trained
    assert record.epochs == len(record.losses) == 3
    assert record.seconds > 0
    assert record.losses[-1][0] < record.losses[0][0] / 2
    data, accuracies = TrainingData.of(TASK, 8), []
    for candidate in (*supernet.largest, *supernet.smallest):
        heir = supernet.build(candidate)
        supernet.copy_slice_into(candidate, heir)
        recalibrate(heir, data)
        accuracies.append(score(heir, data.validation, data.normalise)[0])
    assert min(accuracies) > 0.3, "three times chance"


@pytest.mark.parametrize("way", ["told to stop", "killed"])
def test_it_goes_on_as_if_it_had_not_been_interrupted(
    way: str, trained: tuple[Supernet, SupernetRecord], tmp_path: Path
) -> None:
    file = tmp_path / "s.safetensors"

    def interrupt(record: SupernetRecord) -> bool:
        if record.epochs == 2 and way == "killed":
            raise KeyboardInterrupt
        return record.epochs < 2

    first = _supernet()
    if way == "killed":
        with pytest.raises(KeyboardInterrupt):
            sandwich.train(first, TASK, PLAN, file, interrupt)
    else:
        assert sandwich.train(first, TASK, PLAN, file, interrupt).epochs == 2
    for tensor in first.tensors.values():
        tensor.data.fill_(float("nan"))  # what was in memory is lost
    torch.manual_seed(99)
    second, ran = _supernet(), []
    record = sandwich.train(second, TASK, PLAN, file, lambda record: not ran.append(record.epochs))
    assert ran == [3]
    assert [tuple(pair) for pair in record.losses] == [tuple(pair) for pair in trained[1].losses]
    for name, tensor in trained[0].tensors.items():
        assert torch.equal(second.tensors[name], tensor), name
    assert [p.name for p in tmp_path.iterdir()] == ["s.safetensors"]


def test_a_damaged_file_is_named_and_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "s.safetensors"
    file.write_bytes(b"no tensors")
    with pytest.raises(EvaluationError, match=r"s.safetensors is damaged .*; delete it"):
        sandwich.train(_supernet(), TASK, PLAN, file, lambda record: True)
    assert file.read_bytes() == b"no tensors"


def test_a_loss_that_is_not_finite_ends_training(tmp_path: Path) -> None:
    supernet = _supernet()
    supernet.tensors["classifier.bias"].data[0] = math.nan
    with pytest.raises(EvaluationError, match="loss of the supernet in epoch 0 is nan"):
        sandwich.train(supernet, TASK, PLAN, tmp_path / "s.safetensors", lambda record: True)
