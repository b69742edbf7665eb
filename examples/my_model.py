"""A network of your own, to be compressed by `paredown search examples/my_model.yaml`.

`python examples/my_model.py` trains it on the digits and writes `examples/my_model.safetensors`, to show where weights
come from; a checkpoint of yours takes its place.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

EPOCHS = 12


def layer(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a convolution, its normalisation and an activation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class Gate(nn.Module):
    """Squeeze-and-excitation: a factor for each channel, from the means of all."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels // 4, 1)
        self.expand = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `n x c x h x w` to the same shape."""
        means = x.mean((2, 3), keepdim=True)
        return x * self.expand(self.reduce(means).relu()).sigmoid()


class DigitsNet(nn.Module):
    """A residual, a depthwise and a grouped convolution, a gate and a concatenation."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.stem = layer(channels, 16)
        self.residual = nn.Sequential(layer(16, 16), nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
        self.depthwise = nn.Sequential(layer(16, 16, stride=2, groups=16), layer(16, 32, kernel=1))
        self.gate = Gate(32)
        self.grouped = layer(32, 32, groups=4)
        self.head = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map `n x c x h x w` to `n x classes`."""
        x = self.stem(x)
        x = (x + self.residual(x)).relu()
        x = self.gate(self.depthwise(x))
        x = torch.cat([x, self.grouped(x)], dim=1)
        return self.head(x.mean((2, 3)))


def digits_net(channels: int, classes: int) -> nn.Module:
    """Return the network, untrained: the function that the study file names."""
    return DigitsNet(channels, classes)


def main() -> None:
    """Train on the digits and write the weights.

    Images are normalised as Paredown does it: pixels in 0 to 1, less the mean and divided by the standard deviation of
    the training images.
    """
    from paredown.evaluators.tasks.spec import TaskSpec, load_task
    from paredown.evaluators.tasks.task import normalisation_at, split_at

    task = load_task(TaskSpec("digits", "{}", Path()))
    train, normalise = split_at(task, "train", 16), normalisation_at(task, 16)
    images, labels = torch.from_numpy(normalise(train.images)), torch.from_numpy(train.labels)
    torch.manual_seed(0)
    network = digits_net(1, 10)
    optimizer = torch.optim.AdamW(network.parameters(), 4e-3)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[rows]), labels[rows]).backward()
            optimizer.step()
    held = split_at(task, "validation", 16)
    with torch.no_grad():
        predicted = network.eval()(torch.from_numpy(normalise(held.images))).argmax(1)
    file = Path(__file__).with_suffix(".safetensors")
    save_file(network.state_dict(), file)
    print(f"{file}: {(predicted.numpy() == held.labels).mean():.1%} of the validation images are right")


if __name__ == "__main__":
    main()
