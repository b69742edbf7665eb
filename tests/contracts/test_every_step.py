"""What every compression step must do, alone and with others; a new one is tested by being in the catalogue."""

import contextlib
import copy
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from zoo import ZOO

from paredown.evaluators.build import DECIDED, apply_structural_steps, attached, rebuild
from paredown.evaluators.device import this_device
from paredown.evaluators.files.onnx_model import export, slimmed
from paredown.evaluators.files.onnx_session import logits, open_session
from paredown.evaluators.packing.container import pack, unpack
from paredown.evaluators.tasks.task import Augmentation, Normalisation, Split, Task
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.fit import keep
from paredown.evaluators.training.inference import recalibrate
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.compression.step import RewriteContext, Step, TransformContext
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.families.imported import imported
from paredown.spaces.knob import Knob, Knobs, Range, Value
from paredown.spaces.space import joint_space

SIDE, CLASSES, FOLDER = 12, 5, Path(__file__).parents[1]
TARGET = this_device().target
SHAPE = (1, SIDE, SIDE)
TRANSFORMS, FINETUNINGS, PROXIMALS, LOSSES, REWRITES = (
    [name for name, step in STEPS.items() if getattr(step, hook) is not None]
    for hook in ("transform", "finetuning", "proximal", "teacher_loss", "rewrite")
)
THOROUGH = ("residual", "mbconv")
"""On these each step is tried at all its corners, on the others at its strongest."""
NETS_EACH = 2
"""Each pair of steps is tried on so many networks of the zoo, in turn."""


def _split(count: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    return Split(rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8), np.arange(count) % CLASSES)


DATA = TrainingData(_split(64, 0), _split(16, 1), Normalisation((0.5,), (0.29,)), Augmentation())
TASK = Task("zoo", tuple("abcde"), 1, Range(SIDE, SIDE, 4), lambda name, side: DATA.validation, "zoo")
IMAGES = torch.from_numpy(DATA.normalise(DATA.validation.images))


def _network(name: str) -> nn.Module:
    torch.manual_seed(0)
    network = ZOO[name](SHAPE[0], CLASSES).train()
    for _ in range(3):  # statistics that are not the initial ones
        network(torch.randn(16, *SHAPE))
    return network.eval()


def _settings(step: Step) -> list[dict[str, Value]]:
    """The weakest and the strongest active setting, with the others all at their lowest and highest."""
    values = [v for v in _values(step.knobs[step.switch]) if v != step.off]
    others = [{k: getattr(knob, end) for k, knob in step.knobs.items()} for end in ("lowest", "highest")]
    found = [_active(step, o | {step.switch: value}) for o in others for value in (values[0], values[-1])]
    return [knobs for at, knobs in enumerate(found) if knobs not in found[:at]]


def _active(step: Step, knobs: Knobs) -> dict[str, Value]:
    """Return those knobs that count, as a candidate would name them."""
    space = joint_space({"mbconv": FAMILIES["mbconv"]}, {step.name: step}, Range(8, 12, 4), {}, {})
    values = space.values(space.baseline) | {f"{step.name}.{k}": v for k, v in knobs.items()}
    return dict(space.candidate(values).steps.get(step.name, {}))


def _values(knob: Knob) -> list[Value]:
    if isinstance(knob, Range):
        steps = round((knob.high - knob.low) / knob.step)
        return [knob.nearest(knob.low + i * knob.step) for i in range(steps + 1)]
    return list(knob.values)


def _same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@contextlib.contextmanager
def _or_infeasible(*names: str) -> Iterator[None]:
    """Allow steps to reject the network, if they say who does and why."""
    try:
        yield
    except InfeasibleCandidate as error:
        said = str(error)
        assert any(said.startswith(f"{name}: ") and len(said) > len(name) + 10 for name in names), said


def _material(*, images: bool = True, decided: dict[str, Any] | None = None) -> TransformContext:
    shown = torch.from_numpy(DATA.normalise(DATA.train.images)), torch.from_numpy(DATA.train.labels)
    return TransformContext(torch.zeros(1, *SHAPE), *(shown if images else (None, None)), dict(decided or {}))


def _transformed(name: str, network: nn.Module, knobs: Knobs, material: TransformContext | None = None) -> nn.Module:
    transform = STEPS[name].transform
    assert transform is not None
    return transform(network, knobs, material or _material())


def _sizes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


def _cases(names: list[str]) -> list[tuple[str, Knobs, str]]:
    found: list[tuple[str, Knobs, str]] = []
    for name in names:
        corners = _settings(STEPS[name])
        found += [(name, knobs, net) for net in ZOO for knobs in (corners if net in THOROUGH else corners[-1:])]
    return found


@pytest.mark.parametrize("name", STEPS)
def test_has_a_switch_a_hook_and_a_source(name: str) -> None:
    step = STEPS[name]
    assert step.name == name
    assert 0 < len(step.short) <= 9
    assert [s.short for s in STEPS.values()].count(step.short) == 1
    assert step.off in step.knobs[step.switch]
    assert set(step.details) <= set(step.knobs)
    assert step.attach or step.transform or step.finetuning or step.proximal or step.teacher_loss or step.rewrite
    assert len(step.source) > 10


@pytest.mark.parametrize("name", STEPS)
def test_off_is_no_part_of_the_candidate_and_changes_no_bit(name: str) -> None:
    space = joint_space(
        {"mbconv": FAMILIES["mbconv"]}, {name: STEPS[name]}, Range(8, 12, 4), {f"{name}.{STEPS[name].switch}": None}, {}
    )
    candidate = space.draw(0)
    assert candidate.steps == {}
    assert candidate == candidate.uncompressed
    network = _network("mbconv")
    before = network(IMAGES)
    assert torch.equal(apply_structural_steps(network, candidate, SHAPE, DATA).network(IMAGES), before)


@pytest.mark.parametrize("name", STEPS)
def test_on_it_is_part_of_the_candidate_with_its_active_knobs(name: str) -> None:
    step = STEPS[name]
    space = joint_space({"mbconv": FAMILIES["mbconv"]}, STEPS, Range(8, 12, 4), {}, {})
    values = {n: knob.lowest for n, knob in space.knobs.items()}
    values |= {f"{s.name}.{s.switch}": s.off for s in STEPS.values()}
    assert space.candidate(values).steps == {}
    for knobs in _settings(step):
        assert space.candidate(values | {f"{name}.{k}": v for k, v in knobs.items()}).steps == {name: knobs}


@pytest.mark.parametrize(("name", "knobs", "net"), _cases(TRANSFORMS))
def test_transform_is_deterministic_keeps_the_shape_and_leaves_its_input(name: str, knobs: Knobs, net: str) -> None:
    network = _network(net)
    before, output = copy.deepcopy(network.state_dict()), network(IMAGES)
    with _or_infeasible(name):
        first, second = (_transformed(name, network, knobs) for _ in range(2))
        assert _same(first.state_dict(), second.state_dict())
        after = first.eval()(IMAGES)
        assert after.shape == (len(IMAGES), CLASSES)
        assert torch.isfinite(after).all()
        assert torch.equal(after, first(IMAGES))
        assert sum(p.numel() for p in first.parameters()) <= sum(p.numel() for p in network.parameters())
        first.train()(IMAGES).square().sum().backward()
        assert all(p.grad is not None for p in first.parameters())
    assert _same(before, network.state_dict())
    assert torch.equal(output, network(IMAGES))
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


@pytest.mark.parametrize(("name", "knobs", "net"), _cases(TRANSFORMS))
def test_transform_takes_its_shapes_from_what_it_decided(name: str, knobs: Knobs, net: str) -> None:
    with _or_infeasible(name):
        material = _material()
        first = _transformed(name, _network(net), knobs, material)
        decided = json.loads(json.dumps(material.decided, allow_nan=False))
        torch.manual_seed(1)
        fresh = ZOO[net](SHAPE[0], CLASSES).eval()
        again = _transformed(name, fresh, knobs, _material(images=False, decided=decided))
        again.load_state_dict(first.state_dict())
        assert torch.equal(first.eval()(IMAGES), again.eval()(IMAGES))
        assert all(isinstance(reason, str) and len(reason) > 5 for reason in material.skipped.values())
        assert set(material.skipped) <= {n for n, _ in _network(net).named_modules(remove_duplicate=False)}
        untrained = _transformed(name, fresh, knobs, _material(images=False))
        if STEPS[name].knows_shapes(knobs):
            assert _sizes(untrained) == _sizes(first)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("training", [False, True])
def test_transform_leaves_mode_and_gradients_of_the_input_alone(name: str, training: bool) -> None:
    network = _network("residual").train(training)
    _transformed(name, network, _settings(STEPS[name])[-1])
    assert all(m.training is training for m in network.modules())
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


@pytest.mark.parametrize(("name", "knobs", "net"), _cases(FINETUNINGS))
def test_finetuning_leaves_weights_alone_but_for_what_it_holds(name: str, knobs: Knobs, net: str) -> None:
    with _or_infeasible(name):
        network = apply_structural_steps(_network(net), Candidate("zoo", {}, {name: knobs}), SHAPE, DATA).network
        before = _sizes(network)
        _finetune(network, {name: knobs})
        assert _sizes(network) == before
        assert not any(parametrize.is_parametrized(m) for m in network.modules())
        assert all(torch.isfinite(p).all() and p.requires_grad for p in network.parameters())
        assert torch.isfinite(network.eval()(IMAGES)).all()


@pytest.mark.parametrize(("name", "knobs", "net"), _cases(PROXIMALS))
def test_proximal_pulls_weights_towards_zero_and_changes_nothing_else(name: str, knobs: Knobs, net: str) -> None:
    proximal = STEPS[name].proximal
    assert proximal is not None
    network = _network(net)
    before = copy.deepcopy(network.state_dict())
    proximal(network, knobs, 0.0)
    assert _same(before, network.state_dict())
    proximal(network, knobs, 0.1)
    after = network.state_dict()
    assert _sizes(network) == {key: tensor.shape for key, tensor in before.items()}
    assert not _same(before, after)
    assert all((after[key].abs() <= before[key].abs()).all() for key in before)


@pytest.mark.parametrize(("name", "knobs"), [(n, knobs) for n in REWRITES for knobs in _settings(STEPS[n])])
def test_rewrite_gives_the_same_smaller_working_artifact(name: str, knobs: Knobs) -> None:
    rewrite = STEPS[name].rewrite
    assert rewrite is not None
    model = export(_network("mbconv"), SHAPE)
    images = np.random.default_rng(0).normal(size=(8, *SHAPE)).astype(np.float32)
    calibration = RewriteContext(images, np.arange(8) % CLASSES, target=TARGET, run=_run)
    changed = rewrite(model, knobs, calibration)
    assert changed == rewrite(model, knobs, calibration)
    packed = pack(slimmed(changed))
    assert len(packed) < len(pack(slimmed(model)))
    expected, actual = logits(open_session(model), images), logits(open_session(unpack(packed)), images)
    assert actual.shape == expected.shape
    assert np.isfinite(actual).all()


@pytest.mark.parametrize("name", REWRITES)
def test_rewrite_gives_nearly_the_same_outputs_at_its_mildest(name: str) -> None:
    rewrite = STEPS[name].rewrite
    assert rewrite is not None
    model = export(_network("mbconv"), SHAPE)
    images = np.random.default_rng(0).normal(size=(8, *SHAPE)).astype(np.float32)
    calibration = RewriteContext(images, np.arange(8) % CLASSES, target=TARGET, run=_run)
    expected = logits(open_session(model), images)
    changed = [rewrite(model, knobs, calibration) for knobs in _settings(STEPS[name])]
    errors = [np.abs(logits(open_session(unpack(pack(slimmed(m)))), images) - expected).max() for m in changed]
    assert min(errors) < 0.5 * np.abs(expected).max()


@pytest.mark.parametrize(("name", "knobs"), [(n, knobs) for n in LOSSES for knobs in _settings(STEPS[n])])
def test_loss_is_a_finite_scalar_that_pulls_towards_the_teacher(name: str, knobs: Knobs) -> None:
    teacher_loss = STEPS[name].teacher_loss
    assert teacher_loss is not None
    combine = teacher_loss.combine
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
    teacher_loss = STEPS[name].teacher_loss
    assert teacher_loss is not None
    combine = teacher_loss.combine
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


@dataclass(frozen=True)
class Lightened:
    """A network of the zoo after several steps, as a trial applies them."""

    candidate: Candidate
    network: nn.Module
    decided: dict[str, dict[str, Any]]
    exported: bytes
    rewritten: bytes


def _run(model: bytes, images: NDArray[np.float32]) -> NDArray[np.float32]:
    return logits(open_session(model), images)


def _lightened(net: str, steps: Mapping[str, Knobs]) -> Lightened:
    """Do what a trial does: transforms, an epoch of one step of fine-tuning, export, rewrites."""
    knobs = {name: knob.lowest for name, knob in imported(f"zoo:{net}", FOLDER).knobs(TASK.resolutions).items()}
    candidate = Candidate("imported", knobs, {name: steps[name] for name in STEPS if name in steps})
    original = attached(_network(net), candidate, SHAPE).eval()
    before = copy.deepcopy(original.state_dict())
    done = apply_structural_steps(original, candidate, SHAPE, DATA)
    network = copy.deepcopy(original) if done.network is original else done.network
    _finetune(network, candidate.steps)
    assert _same(before, original.state_dict())
    recalibrate(network, DATA)
    exported = rewritten = export(network, SHAPE)
    calibration = DATA.normalise(DATA.train.images[:8])
    for name, chosen in candidate.steps.items():
        if (rewrite := STEPS[name].rewrite) is not None:
            context = RewriteContext(calibration, DATA.train.labels[:8], target=TARGET, run=_run)
            rewritten = rewrite(rewritten, chosen, context)
    return Lightened(candidate, network.eval(), done.decided, exported, slimmed(rewritten))


def _finetune(network: nn.Module, steps: Mapping[str, Knobs]) -> None:
    """Take one step of the optimiser with all losses and holds; afterwards what is held is whole."""
    images, labels = (t[:16] for t in (_material().images, _material().labels) if t is not None)
    with contextlib.ExitStack() as stack:
        enter = [(STEPS[n].finetuning, knobs) for n, knobs in steps.items() if STEPS[n].finetunes(knobs)]
        holds = [stack.enter_context(hook(network, knobs, TARGET)) for hook, knobs in enter if hook is not None]
        optimizer = torch.optim.SGD(network.parameters(), 1e-3)
        output = network.train()(images)
        output = output[-1] if output.dim() == 3 else output  # of several exits the last one
        loss = F.cross_entropy(output, labels)
        for name, knobs in steps.items():
            if (teacher_loss := STEPS[name].teacher_loss) is not None:
                loss = teacher_loss.combine(loss, output, torch.zeros_like(output), knobs)
        loss.backward()
        optimizer.step()
        keep(holds, 0.5)
        keep(holds, 1.0)
        held = copy.deepcopy(network.state_dict())
        keep(holds[-1:], 1.0)  # of several, such as zeros in two domains, the last one has the last word
        for key, tensor in network.state_dict().items():  # what is held already stays as it is
            torch.testing.assert_close(tensor, held[key], rtol=1e-4, atol=1e-6)


def _holds_true(net: str, steps: Mapping[str, Knobs], folder: Path) -> None:
    with _or_infeasible(*steps):
        made = _lightened(net, steps)
        output = made.network(IMAGES).detach()
        assert output.shape == (len(IMAGES), CLASSES)
        assert torch.isfinite(output).all()
        assert torch.equal(output, made.network(IMAGES))

        state = {k: v.clone(memory_format=torch.contiguous_format) for k, v in made.network.state_dict().items()}
        save_file(state, folder / "weights.safetensors", {DECIDED: json.dumps(made.decided)})
        rebuilt, shape = rebuild(made.candidate, TASK, folder / "weights.safetensors")
        assert shape == SHAPE
        torch.testing.assert_close(rebuilt(IMAGES).detach(), output, rtol=1e-5, atol=1e-5)

        atol = 1e-4 * max(1.0, float(output.abs().max()))
        np.testing.assert_allclose(logits(open_session(made.exported), IMAGES.numpy()), output.numpy(), atol=atol)
        shipped = logits(open_session(made.rewritten), IMAGES.numpy())
        assert shipped.shape == output.shape
        assert np.isfinite(shipped).all()


@pytest.mark.parametrize("net", ZOO)
@pytest.mark.parametrize("name", STEPS)
def test_alone_a_trial_ships_what_it_trained(name: str, net: str, tmp_path: Path) -> None:
    _holds_true(net, {name: _settings(STEPS[name])[-1]}, tmp_path)


PAIRS = [
    (first, second, list(ZOO)[(at + turn * len(ZOO) // NETS_EACH) % len(ZOO)])
    for at, (first, second) in enumerate(itertools.combinations(STEPS, 2))
    for turn in range(NETS_EACH)
]


@pytest.mark.parametrize(("first", "second", "net"), PAIRS)
def test_in_pairs_a_trial_ships_what_it_trained(first: str, second: str, net: str, tmp_path: Path) -> None:
    _holds_true(net, {name: _settings(STEPS[name])[-1] for name in (first, second)}, tmp_path)


@st.composite
def triples(draw: st.DrawFn) -> dict[str, Knobs]:
    """Three steps, switched on, every other knob anywhere."""
    chosen: dict[str, Knobs] = {}
    for name in draw(st.lists(st.sampled_from(sorted(STEPS)), min_size=3, max_size=3, unique=True)):
        step = STEPS[name]
        knobs = {k: draw(st.sampled_from(_values(knob))) for k, knob in step.knobs.items() if k != step.switch}
        on = draw(st.sampled_from([v for v in _values(step.knobs[step.switch]) if v != step.off]))
        chosen[name] = _active(step, knobs | {step.switch: on})
    return chosen


@settings(
    max_examples=12,
    derandomize=True,  # the same in every run: a failure is never news of another change
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(net=st.sampled_from(sorted(ZOO)), steps=triples())
def test_in_random_triples_a_trial_ships_what_it_trained(
    net: str, steps: dict[str, Knobs], tmp_path_factory: pytest.TempPathFactory
) -> None:
    _holds_true(net, steps, tmp_path_factory.mktemp("triple"))
