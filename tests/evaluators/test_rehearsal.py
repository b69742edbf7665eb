"""What is refused before training: each in one sentence that says why."""

from pathlib import Path

import pytest
import torch
from odd_networks import CLASSES, ODD, SIDE, Odd
from torch import Tensor, nn

from paredown.evaluators.rehearsal import Unfit, check_loads, rehearse

SHAPE = (1, SIDE, SIDE)


class Auxiliary(Odd):
    """Gives more in training than in evaluation."""

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:  # type: ignore[override]
        y = super().forward(x)
        return (y, y) if self.training else y


class OneImage(Odd):
    """The number of images becomes a constant of the file."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.last(self.first(x)).view(int(x.shape[0]), 16, -1).mean(2))
        return y


class Branching(Odd):
    """Goes one way or the other by the image."""

    def mix(self, x: Tensor) -> Tensor:
        return x if x.mean() > 0.5 else -x


class Spectral(Odd):
    """An operator that the exporter does not know."""

    def mix(self, x: Tensor) -> Tensor:
        return torch.fft.rfft2(x).abs()


class Overwriting(Odd):
    """Changes in place what the gradient needs."""

    def mix(self, x: Tensor) -> Tensor:
        y = x.exp()
        y += x
        return y


class Normalising(Odd):
    """Normalises by the images that happen to be in the batch, by hand."""

    def mix(self, x: Tensor) -> Tensor:
        return x - x.mean(0, keepdim=True)


class Exact(Odd):
    """Trains for batches that are larger than two."""

    def mix(self, x: Tensor) -> Tensor:
        if self.training and len(x) < 3:
            raise ValueError("give me three")
        return x


def without_statistics() -> nn.Module:
    network = Odd()
    network.middle = nn.Sequential(nn.Conv2d(16, 16, 1), nn.BatchNorm2d(16, track_running_stats=False))
    return network


def scripted() -> nn.Module:
    network = Odd()
    network.last = torch.jit.script(network.last)
    return network


def compiled() -> nn.Module:
    network = Odd()
    network.last = torch.compile(network.last)  # type: ignore[assignment]
    return network


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (Auxiliary, "in training mode it returns tuple, in evaluation a tensor"),
        (OneImage, "takes one image only: the batch size is a constant in its forward"),
        (Branching, "depends on the values of an image"),
        (Spectral, "cannot be exported to ONNX: .*fft_rfft2"),
        (Overwriting, r"its gradients cannot be computed: .*write y = y \+ x instead of y \+= x"),
        (Normalising, "depends on the others in the batch"),
        (Exact, "in training mode it cannot take a batch of 2: ValueError: give me three"),
        (without_statistics, "its module middle.1 is a BatchNorm2d without running statistics"),
        (lambda: Odd().requires_grad_(False), "cannot be trained: no parameter with requires_grad"),
        (scripted, "its module last is compiled by torch.jit"),
        (compiled, "its module last is compiled by torch.compile"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_trained_or_exported_is_refused(made: type[nn.Module], says: str, capfd: object) -> None:
    torch.manual_seed(0)
    with pytest.raises(Unfit, match=says):
        rehearse(made(), SHAPE, CLASSES)
    assert not capfd.readouterr().out  # type: ignore[attr-defined]  # standard output is for a command's document


@pytest.mark.parametrize("name", ODD)
def test_every_odd_network_is_taken_and_left_as_it_was(name: str) -> None:
    torch.manual_seed(0)
    network = ODD[name]().train()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    rehearse(network, SHAPE, CLASSES)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    assert network.training


def test_a_file_that_does_not_load_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(Unfit, match="ONNX Runtime cannot run the rewritten file: "):
        check_loads(tmp_path / "model.onnx")
