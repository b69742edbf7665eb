"""What every compression step must do; a new one is tested by being in the catalogue."""

import copy
import itertools
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paredown.evaluators.onnx_model import export, logits, open_session, slimmed
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.compression.step import Calibration, Material, Step
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.knob import Knob, Knobs, Range, active
from paredown.spaces.space import joint_space

SHAPE, CLASSES = (1, 12, 12), 5
TRANSFORMS = [name for name, step in STEPS.items() if step.transform]
REWRITES = [name for name, step in STEPS.items() if step.rewrite]
LOSSES = [name for name, step in STEPS.items() if step.loss]


class Residual(nn.Module):
    """A plain network with a residual, a depthwise convolution and a dense 3 x 3 one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.depthwise(x + self.body(x))
        return self.head(x.mean((2, 3)))


def _mbconv() -> nn.Module:
    space = joint_space(FAMILIES, {}, Range(8, 12, 4), {"mbconv.phi": 2.0}, {})
    return FAMILIES["mbconv"].build(space.baseline.knobs, SHAPE, CLASSES)


NETWORKS = {"residual": Residual, "mbconv": _mbconv}


def _network(name: str) -> nn.Module:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    network.train()
    for _ in range(3):  # statistics that are not the initial ones
        network(torch.randn(16, *SHAPE))
    return network.eval()


def _settings(step: Step) -> list[Knobs]:
    """The weakest and the strongest active setting, with the others all at their lowest and highest."""
    switch = step.knobs[step.switch]
    values = [v for v in _values(switch) if v != step.off]
    lowest = {k: knob.lowest for k, knob in step.knobs.items() if k != step.switch}
    highest = {k: knob.highest for k, knob in step.knobs.items() if k != step.switch}
    corners = [lowest] if lowest == highest else [lowest, highest]
    settings = [o | {step.switch: value} for o in corners for value in dict.fromkeys((values[0], values[-1]))]
    return [active(step.knobs, knobs) for knobs in settings]


def _values(knob: Knob) -> list[object]:
    if isinstance(knob, Range):
        steps = round((knob.high - knob.low) / knob.step)
        return [knob.nearest(knob.low + i * knob.step) for i in range(steps + 1)]
    return list(knob.values)


def _apply(name: str, network: nn.Module, knobs: Knobs) -> nn.Module:
    transform = STEPS[name].transform
    assert transform is not None
    return transform(network, knobs, _material())


def _material() -> Material:
    random = torch.Generator().manual_seed(0)
    images, labels = torch.randn(64, *SHAPE, generator=random), torch.arange(64) % CLASSES
    return Material(torch.zeros(1, *SHAPE), images, labels)


def _same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


CASES = [(n, knobs, net) for n in TRANSFORMS for knobs in _settings(STEPS[n]) for net in NETWORKS]


@pytest.mark.parametrize("name", STEPS)
def test_has_a_switch_a_hook_and_a_source(name: str) -> None:
    step = STEPS[name]
    assert step.name == name
    assert step.off in step.knobs[step.switch]
    assert step.attach or step.transform or step.finetuning or step.penalty or step.loss or step.rewrite
    assert len(step.source) > 10


@pytest.mark.parametrize("name", STEPS)
def test_off_is_no_part_of_the_candidate(name: str) -> None:
    space = joint_space(FAMILIES, {name: STEPS[name]}, Range(8, 12, 4), {f"{name}.{STEPS[name].switch}": None}, {})
    assert name not in space.draw(0).steps
    assert space.draw(0) == space.draw(0).uncompressed


@pytest.mark.parametrize(("name", "knobs", "net"), CASES)
def test_transform_leaves_the_input_alone_and_keeps_the_shape(name: str, knobs: Knobs, net: str) -> None:
    network = _network(net)
    before = copy.deepcopy(network.state_dict())
    images = torch.randn(3, *SHAPE)
    output = network(images)
    changed = _apply(name, network, knobs)
    assert _same(before, network.state_dict())
    assert torch.equal(output, network(images))
    assert changed(images).shape == (3, CLASSES)
    assert torch.isfinite(changed(images)).all()


@pytest.mark.parametrize(("name", "knobs", "net"), CASES)
def test_transform_is_deterministic_and_its_state_round_trips(name: str, knobs: Knobs, net: str) -> None:
    first, second = (_apply(name, _network(net), knobs) for _ in range(2))
    assert _same(first.state_dict(), second.state_dict())
    torch.manual_seed(1)
    fresh = _apply(name, NETWORKS[net]().eval(), knobs)
    fresh.load_state_dict(first.state_dict())
    images = torch.randn(3, *SHAPE)
    assert torch.equal(first.eval()(images), fresh.eval()(images))


@pytest.mark.parametrize(("name", "knobs", "net"), CASES)
def test_transform_shrinks_or_keeps_and_stays_trainable(name: str, knobs: Knobs, net: str) -> None:
    network = _network(net)
    changed = _apply(name, network, knobs)
    assert sum(p.numel() for p in changed.parameters()) <= sum(p.numel() for p in network.parameters())
    changed.train()(torch.randn(4, *SHAPE)).square().sum().backward()
    assert all(p.grad is not None for p in changed.parameters())


@pytest.mark.parametrize("pair", [p for n in (1, 2) for p in itertools.combinations(TRANSFORMS, n)])
@pytest.mark.parametrize("net", NETWORKS)
def test_alone_and_in_pairs_they_export_with_equal_outputs(pair: tuple[str, ...], net: str) -> None:
    network = _network(net)
    for name in pair:
        network = _apply(name, network, _settings(STEPS[name])[-1])
    images = torch.randn(4, *SHAPE)
    expected = network(images).detach().numpy()
    actual = logits(open_session(slimmed(export(network, SHAPE))), images.numpy())
    np.testing.assert_allclose(actual, expected, atol=1e-4)


@pytest.mark.parametrize(("name", "knobs"), [(n, knobs) for n in REWRITES for knobs in _settings(STEPS[n])])
def test_rewrite_gives_the_same_smaller_working_file(name: str, knobs: Knobs) -> None:
    rewrite = STEPS[name].rewrite
    assert rewrite is not None
    model = export(_network("mbconv"), SHAPE)
    images = np.random.default_rng(0).normal(size=(8, *SHAPE)).astype(np.float32)
    calibration = Calibration(images, np.arange(8) % CLASSES)
    changed = rewrite(model, knobs, calibration)
    assert changed == rewrite(model, knobs, calibration)
    assert len(slimmed(changed)) < len(slimmed(model))
    expected, actual = logits(open_session(model), images), logits(open_session(slimmed(changed)), images)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() < 0.5 * np.abs(expected).max()


@pytest.mark.parametrize(("name", "knobs"), [(n, knobs) for n in LOSSES for knobs in _settings(STEPS[n])])
def test_loss_is_a_finite_scalar_that_pulls_towards_the_teacher(name: str, knobs: Knobs) -> None:
    combine = STEPS[name].loss
    assert combine is not None
    teacher = torch.tensor([[4.0, 0.0, 0.0]])
    student = torch.zeros(1, 3, requires_grad=True)
    loss = combine(torch.zeros(()), student, teacher, knobs)
    loss.backward()
    assert loss.shape == ()
    assert loss.item() > 0
    assert student.grad is not None
    assert student.grad[0, 0] < 0 < student.grad[0, 1]
    assert combine(torch.zeros(()), teacher, teacher, knobs).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("name", "knobs"), [(n, knobs) for n in LOSSES for knobs in _settings(STEPS[n])])
def test_loss_is_deterministic_differentiable_and_leaves_its_inputs(name: str, knobs: Knobs) -> None:
    combine = STEPS[name].loss
    assert combine is not None
    torch.manual_seed(0)
    student, teacher = torch.randn(6, CLASSES, requires_grad=True), torch.randn(6, CLASSES)
    task_loss = torch.tensor(1.5, requires_grad=True)
    before = teacher.clone()
    first, second = (combine(task_loss, student, teacher, knobs) for _ in range(2))
    first.backward()
    assert torch.equal(first, second)
    assert torch.equal(teacher, before)
    assert torch.isfinite(first)
    for gradient in (student.grad, task_loss.grad):  # both terms count
        assert gradient is not None
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 0
    extreme = combine(task_loss, 1e4 * student.detach(), -1e4 * teacher, knobs)
    assert torch.isfinite(extreme)


@pytest.mark.parametrize("name", STEPS)
def test_on_it_is_part_of_the_candidate_with_its_active_knobs(name: str) -> None:
    step = STEPS[name]
    space = joint_space(FAMILIES, STEPS, Range(8, 12, 4), {}, {})
    values = {n: knob.lowest for n, knob in space.knobs.items()}
    values |= {f"{s.name}.{s.switch}": s.off for s in STEPS.values()}
    assert space.candidate(values).steps == {}
    for knobs in _settings(step):
        assert space.candidate(values | {f"{name}.{k}": v for k, v in knobs.items()}).steps == {name: knobs}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("training", [False, True])
def test_transform_leaves_mode_and_gradients_of_the_input_alone(name: str, training: bool) -> None:
    network = _network("residual").train(training)
    _apply(name, network, _settings(STEPS[name])[-1])
    assert all(m.training is training for m in network.modules())
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
