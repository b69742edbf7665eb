"""Sparsity penalty: its value by hand, exact zeros at the end, and that they stay."""

import pytest
import torch
from torch import nn

from paredown.spaces.compression.sparsity_penalty import SPARSITY_PENALTY
from paredown.spaces.compression.step import Material
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.knob import Knobs


def network() -> nn.Sequential:
    """A convolution with filters (3, 4) and (0, 0), and a linear layer with weights 1 and -2."""
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, 4.0], [0.0, 0.0]]).view(2, 2, 1, 1))
        model[2].weight.copy_(torch.tensor([[1.0, -2.0]]))
    return model


def penalty(model: nn.Module, **knobs: object) -> torch.Tensor:
    assert SPARSITY_PENALTY.penalty is not None
    return SPARSITY_PENALTY.penalty(model, knobs)  # type: ignore[arg-type]


def rounded(model: nn.Module, knobs: Knobs) -> tuple[nn.Module, dict[str, str]]:
    assert SPARSITY_PENALTY.transform is not None
    material = Material(torch.zeros(1, 2, 1, 1))
    return SPARSITY_PENALTY.transform(model, knobs, material), material.skipped


def test_l1_is_the_sum_of_all_magnitudes() -> None:
    assert penalty(network(), kind="l1", strength=0.1).item() == pytest.approx(0.1 * (3 + 4 + 1 + 2))


def test_group_lasso_is_the_sum_of_norms_times_the_root_of_their_size() -> None:
    assert penalty(network(), kind="group_lasso", strength=0.1).item() == pytest.approx(0.1 * 5 * 2**0.5)


@pytest.mark.parametrize("kind", ["l1", "group_lasso"])
def test_its_gradient_is_finite_and_points_away_from_zero(kind: str) -> None:
    model = network()
    penalty(model, kind=kind, strength=1e-3).backward()
    gradient = model[0].weight.grad
    assert torch.isfinite(gradient).all()
    assert (gradient[0] > 0).all()
    assert (gradient[1] == 0).all(), "a filter at zero stays there"
    assert model[0].bias.grad is None
    assert model[1].weight.grad is None


def test_l1_rounds_single_weights_and_group_lasso_whole_filters() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 1, bias=False))
    values = torch.tensor([[100.0, 0.9], [-0.9, 50.0], [0.5, 0.6]])
    with torch.no_grad():
        model[0].weight.copy_(values.view(3, 2, 1, 1))
    l1, _ = rounded(model, {"kind": "l1", "strength": 1e-4})
    lasso, _ = rounded(model, {"kind": "group_lasso", "strength": 1e-4})
    assert l1.get_parameter("0.weight").flatten().tolist() == [100, 0, 0, 50, 0, 0]
    kept = torch.cat([values[:2].flatten(), torch.zeros(2)])
    assert torch.equal(lasso.get_parameter("0.weight").flatten(), kept)
    assert torch.equal(model[0].weight.flatten(), values.flatten())


def test_group_lasso_leaves_linear_layers_alone_and_says_so() -> None:
    _, skipped = rounded(network(), {"kind": "group_lasso", "strength": 1e-4})
    assert skipped == {"2": "group_lasso is for the filters of convolutions"}
    with pytest.raises(InfeasibleCandidate, match=r"^sparsity_penalty: no layer has weights that group_lasso"):
        rounded(nn.Sequential(nn.Linear(2, 2)), {"kind": "group_lasso", "strength": 1e-4})


def test_zeros_stay_through_fine_tuning_and_others_move() -> None:
    assert SPARSITY_PENALTY.finetuning is not None
    model = network()
    with SPARSITY_PENALTY.finetuning(model, {"kind": "l1", "strength": 1e-4}) as hold:
        for step in (0.5, 1.0):
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(1.0)
            hold.after_step(step)
    assert model[0].weight.flatten().tolist() == [5, 6, 0, 0]
    assert model[2].weight.flatten().tolist() == [3, 0]
