"""Files of weights as people have them: what is taken, with a remark, and what is refused, with the way out."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paredown.spaces.checkpoint import WeightsRefused, read_checkpoint


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(3)).eval()


def made() -> nn.Module:
    whole = network()
    whole(torch.zeros(1, 1, 5, 5))
    return whole


def read(tmp_path: Path, saved: Any) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    torch.save(saved, tmp_path / "w.pt")
    found = read_checkpoint(made(), tmp_path / "w.pt", "w.pt")
    return dict(found.state), found.remarks


def state(**changes: Tensor) -> dict[str, Tensor]:
    return {**made().state_dict(), **{name.replace("__", "."): tensor for name, tensor in changes.items()}}


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_a_prefix_of_every_name_is_left_out_with_a_remark(tmp_path: Path, prefix: str) -> None:
    found, remarks = read(tmp_path, {f"{prefix}{name}": tensor for name, tensor in state().items()})
    assert found.keys() == state().keys()
    assert remarks == (f"the prefix {prefix!r} of every name is left out",)


def test_an_averaged_model_is_taken_without_its_counter(tmp_path: Path) -> None:
    torch.manual_seed(0)
    found, remarks = read(tmp_path, torch.optim.swa_utils.AveragedModel(made()).state_dict())
    assert found.keys() == state().keys()
    assert "'module.'" in remarks[0]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_point_numbers_are_converted_with_a_remark(tmp_path: Path, kind: torch.dtype) -> None:
    found, remarks = read(tmp_path, made().to(kind).state_dict())
    assert found["0.weight"].dtype == torch.float32
    assert remarks == (f"{str(kind).removeprefix('torch.')} numbers are taken as float32",)


def test_what_fits_has_no_remark(tmp_path: Path) -> None:
    found, remarks = read(tmp_path, state())
    assert torch.equal(found["0.weight"], made().state_dict()["0.weight"])
    assert remarks == ()


WEIGHT = torch.zeros(4, 1, 3, 3)


@pytest.mark.parametrize(
    ("saved", "holds"),
    [
        (state(**{"0__weight": WEIGHT.to(torch.int8)}), r"0.weight \(int8\): codes of a quantised network"),
        (state(**{"0__weight": WEIGHT.to(torch.complex64)}), r"0.weight \(complex64\)"),
        (state(**{"0__weight": WEIGHT * torch.nan}), "NaN or infinite numbers in 0.weight"),
        ({"epoch": 3, "state_dict": state(), "optimizer": {"state": {}}}, r"weights under 'state_dict': write them by"),
        ({"model": state(), "model_ema": state(), "epoch": 1}, r"'model' and 'model_ema': .*\['model_ema'\]"),
        ({"epoch": 3}, "holds no state dict, a mapping from names to tensors$"),
        ({}, "holds no state dict"),
    ],
)
def test_what_holds_no_weights_is_refused_with_the_way(tmp_path: Path, saved: Any, holds: str) -> None:
    with pytest.raises(WeightsRefused, match=holds):
        read(tmp_path, saved)
