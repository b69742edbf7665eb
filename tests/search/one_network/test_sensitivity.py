"""The sensitivity map: arithmetic of its methods, and what it measures."""

import copy
import json
import math

import pytest
import torch
from torch import nn

from paredown.evaluators.tasks.digits import DIGITS, DigitsOptions
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.fit import TrainingPlan, fit
from paredown.search.one_network.sensitivity import (
    METHODS,
    SensitivityMap,
    count,
    flattened,
    measure,
    rounded,
    zeroed,
)
from paredown.search.one_network.sensitivity_page import heat_map


def test_methods_do_what_they_say() -> None:
    weight = torch.tensor([[1.0, -4.0], [0.5, 3.0]])
    assert zeroed(weight, 0.5).tolist() == [[0.0, -4.0], [0.0, 3.0]]
    assert zeroed(torch.ones(4), 0.25).tolist() == [0.0, 1.0, 1.0, 1.0], "equal weights: exactly as many as asked"
    torch.testing.assert_close(
        rounded(torch.tensor([[1.0, -0.4], [0.3, 0.1]]), 2), torch.tensor([[1.0, 0.0], [0.3, 0.0]])
    )
    three_bits = rounded(torch.tensor([[3.0, 1.4, -0.6]]), 3)
    assert three_bits.tolist() == [[3.0, 1.0, -1.0]]
    outer = torch.outer(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
    torch.testing.assert_close(flattened(outer, 0.5), outer)
    torch.testing.assert_close(
        flattened(torch.diag(torch.tensor([5.0, 1.0])), 0.5), torch.diag(torch.tensor([5.0, 0.0]))
    )
    kernel = torch.randn(4, 3, 3, 3)
    assert flattened(kernel, 0.25).flatten(1).svd().S[1:].abs().max() < 1e-5
    for method in METHODS.values():
        assert method.apply(kernel, method.strengths[-1]).shape == kernel.shape


class Idle(nn.Module):
    """A network with a layer that decides all, one that decides nothing, and a grouped one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 8, 1, groups=2)
        self.idle = nn.Conv2d(1, 4, 1)
        self.head = nn.Linear(72, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = self.grouped(self.norm(self.first(x)).relu()).flatten(1)
        return self.head(seen) + 0 * self.idle(x).mean()


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, TrainingData]:
    data = TrainingData.of(DIGITS.load(DigitsOptions(), None), 8)  # type: ignore[arg-type]
    torch.manual_seed(0)
    network = Idle()
    plan = TrainingPlan(accelerator="cpu")
    fit(network, data, plan, epochs=4, learning_rate=1e-2, deadline=math.inf)
    return network.eval(), data


def test_it_measures_each_layer_alone_and_leaves_the_network(trained: tuple[nn.Module, TrainingData]) -> None:
    network, data = trained
    before, told = copy.deepcopy(network.state_dict()), []
    found = measure(network, data, told.append)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert len(told) == count(network)
    assert list(found.layers) == ["first", "grouped", "idle", "head"]
    assert found.images == len(data.validation.images)
    assert found.accuracy > 0.8
    for method, drops in found.drops.items():
        assert drops["idle"] == (0.0,) * len(found.strengths[method]), "it decides nothing"
    assert found.drops["zeroing"]["head"][-1] > 0.05 > found.drops["zeroing"]["head"][0]
    assert abs(found.drops["rounding"]["head"][0]) < 0.01
    assert found.drops["rounding"]["first"][-1] > 0.01
    assert set(found.skipped) == {"low rank"}
    assert set(found.skipped["low rank"]) == {"grouped"}
    again = SensitivityMap.from_json(json.loads(json.dumps(found.to_json())))
    assert again == found
    figure = heat_map(found)
    assert [trace.name for trace in figure.data] == ["zeroing", "rounding", "low rank", "low rank, left alone"]
    assert [[len(row) for row in trace.z] for trace in figure.data] == [[n] * 4 for n in (4, 5, 4, 4)]
    places = [place for trace in figure.data[:3] for place in trace.x]
    assert places == sorted(set(places)), "each strength of each method has a column of its own"
    assert list(figure.layout.xaxis.tickvals) == places
    assert figure.layout.xaxis.ticktext[4:10] == ("8", "6", "4", "3", "2", "75 %")
    assert figure.data[2].z[1][0] is None
    assert figure.data[3].z[1][0] == 0
    assert list(figure.data[0].text[2]) == ["0.0"] * 4
