"""Unstructured pruning: which weights become zero, how many, and that they stay so."""

import pytest
import torch
from torch import nn

from paredown.spaces.compression.step import Hold, TransformContext
from paredown.spaces.compression.target import Target
from paredown.spaces.compression.unstructured_pruning import UNSTRUCTURED_PRUNING
from paredown.spaces.errors import InfeasibleCandidate

DEFAULTS = {"ratio": 0.5, "scope": "global", "pattern": "none", "schedule": "one_shot"}


def network(*weights: list[float]) -> nn.Sequential:
    """Linear layers `1 x n` with these weights and a bias of 0.001."""
    layers = [nn.Linear(len(w), 1) for w in weights]
    with torch.no_grad():
        for layer, values in zip(layers, weights, strict=True):
            layer.weight.copy_(torch.tensor([values]))
            layer.bias.fill_(0.001)
    return nn.Sequential(*layers)


def pruned(model: nn.Module, images: bool = True, **knobs: object) -> tuple[nn.Module, dict[str, str]]:
    assert UNSTRUCTURED_PRUNING.transform is not None
    material = TransformContext(torch.zeros(1, 8), torch.zeros(2, 8) if images else None)
    return UNSTRUCTURED_PRUNING.transform(model, DEFAULTS | knobs, material), material.skipped


def weights(model: nn.Module) -> list[list[float]]:
    return [layer.weight.flatten().tolist() for layer in model.children()]  # type: ignore[union-attr, operator]


def zeros(model: nn.Module) -> int:
    return sum(int((p == 0).sum()) for name, p in model.named_parameters() if name.endswith("weight"))


def test_one_threshold_for_all_layers_and_one_for_each() -> None:
    model = network([1.0, -2, 3, -4], [10.0, -20, 30, -40])
    assert weights(pruned(model)[0]) == [[0, 0, 0, 0], [10, -20, 30, -40]]
    assert weights(pruned(model, scope="layer")[0]) == [[0, 0, 3, -4], [0, 0, 30, -40]]
    assert weights(model) == [[1, -2, 3, -4], [10, -20, 30, -40]], "the given network is not touched"


def test_equal_weights_are_counted_exactly() -> None:
    assert weights(pruned(network([5.0] * 8), ratio=0.25)[0]) == [[0, 0, 5, 5, 5, 5, 5, 5]]


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("ratio", [0.05, 0.8, 0.95])
def test_the_number_of_zeros_is_the_rounded_share(scope: str, ratio: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 7, 3), nn.BatchNorm2d(7), nn.Conv2d(7, 7, 3, groups=7), nn.Linear(7, 5))
    sizes = [7 * 3 * 9, 7 * 9, 35]
    expected = round(ratio * sum(sizes)) if scope == "global" else sum(round(ratio * n) for n in sizes)
    changed, skipped = pruned(model, ratio=ratio, scope=scope)
    assert zeros(changed) == expected
    assert skipped == {}
    before = model.state_dict()
    for name, value in changed.state_dict().items():
        if name.endswith("bias") or name.startswith("1."):
            assert torch.equal(value, before[name]), "biases and norms are left alone"


def test_two_of_four_along_the_input_channels() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 6, 3), nn.Conv2d(6, 4, 1), nn.Conv2d(4, 4, 3, groups=4))
    changed, skipped = pruned(model, pattern="2:4")
    assert list(skipped) == ["1", "2"]
    assert skipped["1"] == "its 6 input channels a group are no multiple of 4"
    weight, original = changed.get_parameter("0.weight"), model.get_parameter("0.weight")
    for out, row, column in torch.cartesian_prod(torch.arange(6), torch.arange(3), torch.arange(3)).tolist():
        for first in (0, 4):
            group = weight[out, first : first + 4, row, column]
            asked = original[out, first : first + 4, row, column]
            kept = asked.abs().topk(2).indices
            assert int((group == 0).sum()) == 2
            assert torch.equal(group[kept], asked[kept]), "the two larger ones stay"


@pytest.mark.parametrize(("ratio", "expected"), [(0.25, 8), (0.5, 8), (0.75, 12), (0.95, 15)])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_a_ratio_above_the_patterns_takes_more(ratio: float, expected: int, scope: str) -> None:
    model = network([float(i) for i in range(16, 0, -1)])
    changed, _ = pruned(model, pattern="2:4", ratio=ratio, scope=scope)
    assert zeros(changed) == expected
    for group in torch.tensor(weights(changed)[0]).view(-1, 4):
        assert int((group == 0).sum()) >= 2


def test_nothing_to_prune_is_infeasible() -> None:
    with pytest.raises(InfeasibleCandidate, match=r"^unstructured_pruning: no layer"):
        pruned(nn.Sequential(nn.BatchNorm2d(3)))
    with pytest.raises(InfeasibleCandidate, match=r"^unstructured_pruning: no layer"):
        pruned(nn.Sequential(nn.Linear(7, 2)), pattern="2:4")


def test_a_shared_weight_is_counted_once() -> None:
    model = network([1.0, 2, 3, 4], [9.0, 9, 9, 9])
    model[1].weight = model[0].weight
    changed, skipped = pruned(model)
    assert weights(changed) == [[0, 0, 3, 4]] * 2
    assert skipped == {"1": "it shares its weight with 0, where it is treated"}


def test_a_computed_weight_is_left_alone() -> None:
    model = network([1.0, 2, 3, 4], [9.0, 9, 9, 9])
    nn.utils.parametrizations.weight_norm(model[0])
    changed, skipped = pruned(model)
    assert weights(changed)[1] == [0, 0, 9, 9]
    assert skipped == {"0": "its weight is computed from other parameters"}


def shaken(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))


def held(model: nn.Module, **knobs: object) -> object:
    assert UNSTRUCTURED_PRUNING.finetuning is not None
    return UNSTRUCTURED_PRUNING.finetuning(model, DEFAULTS | knobs, Target())


@pytest.mark.parametrize("pattern", ["none", "2:4"])
def test_masks_survive_steps_of_the_optimizer(pattern: str) -> None:
    torch.manual_seed(0)
    model, _ = pruned(nn.Sequential(nn.Linear(16, 8), nn.Linear(8, 4)), ratio=0.7, pattern=pattern)
    masks = [p == 0 for p in model.parameters()]
    count = zeros(model)
    with held(model, ratio=0.7, pattern=pattern) as hold:  # type: ignore[attr-defined]
        assert hold.settled == 0
        for step in range(1, 6):
            shaken(model)
            hold.after_step(step / 5)
            assert zeros(model) == count == round(0.7 * (16 * 8 + 8 * 4))
    assert all(bool((p[mask] == 0).all()) for p, mask in zip(model.parameters(), masks, strict=True))


def test_the_gradual_schedule_rises_as_a_cubic_and_never_lets_go() -> None:
    torch.manual_seed(0)
    model, _ = pruned(nn.Sequential(nn.Linear(100, 10)), ratio=0.8, schedule="gradual")
    assert zeros(model) == 0, "nothing before fine-tuning"
    seen, gone = [], torch.zeros(10, 100, dtype=torch.bool)
    with held(model, ratio=0.8, schedule="gradual") as hold:  # type: ignore[attr-defined]
        assert isinstance(hold, Hold)
        for progress in (0.1875, 0.375, 0.5625, 0.75, 0.9, 1.0):  # quarters of the ramp, then its end
            shaken(model)
            hold.after_step(progress)
            now = model.get_parameter("0.weight") == 0
            assert bool(now[gone].all()), "what is gone stays gone"
            gone = now
            seen.append(int(now.sum()))
        assert hold.settled == 0.75
    # 0.8 * (1 - (1 - t)^3) at t = 1/4, 1/2, 3/4, 1
    assert seen == [round(1000 * 0.8 * (1 - f)) for f in (0.421875, 0.125, 0.015625, 0, 0, 0)]


@pytest.mark.parametrize("pattern", ["none", "2:4"])
def test_the_last_call_is_enough_for_the_gradual_schedule(pattern: str) -> None:
    torch.manual_seed(0)
    model, _ = pruned(nn.Sequential(nn.Linear(16, 8)), schedule="gradual", pattern=pattern)
    with held(model, schedule="gradual", pattern=pattern) as hold:  # type: ignore[attr-defined]
        hold.after_step(1.0)
    assert zeros(model) == 64


def test_before_training_the_gradual_schedule_shows_what_will_ship() -> None:
    assert zeros(pruned(nn.Sequential(nn.Linear(16, 8)), images=False, schedule="gradual")[0]) == 64


def test_masks_survive_a_parametrization_of_the_weight() -> None:
    class Doubled(nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return 2 * weight

    torch.manual_seed(0)
    model, _ = pruned(nn.Sequential(nn.Linear(16, 8)))
    with held(model) as hold:  # type: ignore[attr-defined]
        nn.utils.parametrize.register_parametrization(model[0], "weight", Doubled())  # type: ignore[index]
        shaken(model)
        hold.after_step(1.0)
        nn.utils.parametrize.remove_parametrizations(model[0], "weight")  # type: ignore[index, arg-type]
    assert zeros(model) == 64
