"""Networks as people write them, cut into stages: dropout that asks for the mode, and layers called more than once."""

from collections.abc import Callable

import pytest
import torch
from exits import CLASSES, SHAPE, attach, exported, images
from torch import Tensor, nn
from torch.nn import functional as F

from paredown.evaluators.files.onnx_session import logits, open_session
from paredown.spaces.compression.channel_pruning import CHANNEL_PRUNING
from paredown.spaces.compression.step import TransformContext
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.exits.stages import places

Drop = Callable[[Tensor, bool], Tensor]


class Plain(nn.Module):
    """One activation and one pooling for all, and what is dropped between the convolutions."""

    def __init__(self, drop: Drop = lambda x, training: F.dropout(x, 0.5, training=training)) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.conv3, self.fc = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8 * 2 * 2, CLASSES)
        self.relu, self.pool = nn.ReLU(), nn.MaxPool2d(2)
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.conv1(x)))
        x = self.drop(x, self.training)
        x = self.pool(self.relu(self.conv2(x)))
        x = self.pool(self.relu(self.conv3(x)))
        y: Tensor = self.fc(x.flatten(1))
        return y


class Noisy(Plain):
    """Training adds noise."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + torch.randn_like(x) if self.training else x)


class Recurrent(nn.Module):
    """A block that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = nn.Conv2d(1, 4, 3, 2, 1), nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
        self.out, self.fc = nn.Conv2d(4, 4, 3, 2, 1), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.out(self.block(self.block(self.stem(x))))
        y: Tensor = self.fc(x.mean((2, 3)))
        return y


class Constant(Plain):
    """Adds a tensor that it makes itself."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + torch.full((1,), 0.5))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "drop",
    [
        lambda x, training: F.dropout(x, 0.5, training),
        lambda x, training: F.dropout(x, training=training, p=0.5, inplace=True),
        lambda x, training: F.dropout1d(x.flatten(2), 0.5, training).view(x.shape),
        lambda x, training: F.dropout2d(x, 0.5, training=training),
        lambda x, training: F.dropout3d(x.unsqueeze(2), 0.5, training).squeeze(2),
        lambda x, training: F.alpha_dropout(x, 0.5, training),
        lambda x, training: F.feature_alpha_dropout(x, 0.5, training),
        lambda x, training: torch.dropout(x, 0.5, training),
        lambda x, training: torch.dropout(input=x, p=0.5, train=training),
        lambda x, training: torch.feature_dropout(x, 0.5, training),
        lambda x, training: torch.alpha_dropout(x, 0.5, training),
        lambda x, training: torch.feature_alpha_dropout(x, 0.5, training),
    ],
)
def test_dropout_functions_follow_the_mode(drop: Drop, training: bool) -> None:
    torch.manual_seed(0)
    network, x = Plain(drop).train(training), images(8)
    multi = attach(network, exits=1, after="pool#2")
    assert torch.equal(multi.all_logits(x)[-1], network.eval()(x))
    assert torch.equal(multi(x), multi(x))
    multi.train()
    assert not torch.equal(multi(x), multi(x)), "each time others are dropped"
    torch.manual_seed(1)
    dropped = multi.all_logits(x)[-1]
    torch.manual_seed(1)
    assert torch.equal(dropped, network.train()(x)), "the same share, of the same kind"


def test_the_file_of_a_network_with_dropout_answers_as_the_network_does() -> None:
    torch.manual_seed(0)
    multi, x = attach(Plain(), exits=2), images(8)
    file = exported(multi)
    assert b"Dropout" not in file
    torch.testing.assert_close(torch.from_numpy(logits(open_session(file), x.numpy())), multi(x))


def test_dropout_that_ignores_the_mode_stays_as_it_is() -> None:
    torch.manual_seed(0)
    multi = attach(Plain(lambda x, training: F.dropout(x, 0.5)), exits=1)
    assert not torch.equal(multi(images(8)), multi(images(8)))


@pytest.mark.parametrize(
    ("network", "at"),
    [
        (lambda: Noisy(), "randn_like"),
        (lambda: Plain(lambda x, training: F.dropout(x, 0.5 if training else 0.1)), "dropout"),
        (lambda: Plain(lambda x, training: F.dropout(x, 0.5, not training)), "dropout"),
        (lambda: Plain(lambda x, training: F.dropout(x, 0.5) if training else x), "dropout"),
        (lambda: Plain(lambda x, training: x if training else x + 1), "conv2"),
        (lambda: Plain(lambda x, training: x + torch.full((1,), float(training))), "_tensor_constant0"),
    ],
)
def test_a_network_that_does_something_else_in_training_is_refused(network: Callable[[], nn.Module], at: str) -> None:
    with pytest.raises(InfeasibleCandidate, match=f"in training its forward does something else .*first at '{at}'"):
        attach(network())


def test_tracing_leaves_the_network_as_it_is() -> None:
    network = Constant()
    network.pool.eval()
    before = set(vars(network))
    names = [place.name for place in places(network, torch.zeros(1, *SHAPE))]
    assert names[0] == "conv1"
    assert set(vars(network)) == before
    assert (network.training, network.pool.training, network.relu.training) == (True, False, True)
    x = images(8)
    torch.testing.assert_close(attach(network).all_logits(x)[-1], network.eval()(x))


def test_a_place_is_one_call_of_a_layer() -> None:
    torch.manual_seed(0)
    network, x = Plain().eval(), images(8)
    found = {place.name: place.shape for place in places(network, torch.zeros(1, *SHAPE))}
    assert found == {
        "conv1": (1, 4, 16, 16),
        "relu": (1, 4, 16, 16),
        "pool": (1, 4, 8, 8),
        "conv2": (1, 8, 8, 8),
        "relu#2": (1, 8, 8, 8),
        "pool#2": (1, 8, 4, 4),
    }
    assert attach(network).after == ("relu", "relu#2"), "where the maps become smaller"
    for after in (("relu", "pool#2"), ("pool", "conv2"), ("relu#2", "pool#2")):
        multi = attach(network, after=",".join(after), head="convolution")
        assert multi.after == after
        shapes = [found[name] for name in after]
        assert [head[0].in_channels for head in multi.heads] == [shape[1] for shape in shapes]
        torch.testing.assert_close(multi.all_logits(x)[-1], network(x))
    with pytest.raises(InfeasibleCandidate, match="no exit can stand after 'relu#4'; allowed: conv1, relu, pool"):
        attach(network, after="relu#4")


def test_a_block_that_two_stages_call_keeps_one_set_of_weights() -> None:
    torch.manual_seed(0)
    network, x = Recurrent().eval(), images(8)
    for after, exits in (("block", 1), ("block,block#2", 2), ("block.0,block.1#2", 2)):
        multi = attach(network, exits=exits, after=after)
        assert multi.after == tuple(after.split(","))
        torch.testing.assert_close(multi.all_logits(x)[-1], network(x))
        own = sum(p.numel() for stage in multi.stages for p in stage.parameters())
        assert sum(p.numel() for p in multi.stages.parameters()) == sum(p.numel() for p in network.parameters()) < own


def test_a_network_with_one_activation_for_all_is_pruned_and_exported() -> None:
    torch.manual_seed(0)
    multi, x = attach(Plain(), exits=2), images(8)
    assert CHANNEL_PRUNING.transform is not None
    pruned = CHANNEL_PRUNING.transform(multi, {"ratio": 0.5}, TransformContext(torch.zeros(1, *SHAPE))).eval()
    assert sum(p.numel() for p in pruned.parameters()) < sum(p.numel() for p in multi.parameters())
    torch.testing.assert_close(torch.from_numpy(logits(open_session(exported(pruned)), x.numpy())), pruned(x))


def test_what_contains_a_named_layer_may_be_named_too() -> None:
    torch.manual_seed(0)
    stages = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU()), nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU())
    network = nn.Sequential(*stages, nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(64, CLASSES)).eval()
    x = images(8)
    for after in ("0.0,0", "0,1.0", "0.1,1"):
        multi = attach(network, after=after)
        assert multi.after == tuple(after.split(","))
        torch.testing.assert_close(multi.all_logits(x)[-1], network(x))
    assert attach(network, exits=1, after="0,0.1").after == ("0",), "the same place"
    with pytest.raises(InfeasibleCandidate, match=r"2 exits are more than the 1 place that early_exit\.after names"):
        attach(network, exits=2, after="0,0.1")
    with pytest.raises(InfeasibleCandidate, match=r"after 'layer7'; allowed: 0\.0, 0\.1, 0, 1\.0, 1\.1, 1$"):
        attach(network, after="layer7")
