"""Early exits: where they stand, when they let go, what they are trained by."""

import copy
import math

import pytest
import torch
from exits import CLASSES, SHAPE, attach, images, multi_exit, plain
from torch import Tensor, nn
from torch.nn import functional as F

from paredown.spaces.compression.channel_pruning import CHANNEL_PRUNING
from paredown.spaces.compression.early_exit import EARLY_EXIT
from paredown.spaces.compression.low_rank import LOW_RANK
from paredown.spaces.compression.step import TransformContext
from paredown.spaces.errors import InfeasibleCandidate, SpaceError
from paredown.spaces.exits.rules import ExitRule
from paredown.spaces.exits.stages import places
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.knob import Choice, Range
from paredown.spaces.space import joint_space


class Named(nn.Module):
    """What users import: named stages, and a forward of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.layer1 = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
        self.layer2 = nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU())
        self.layer3 = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = self.layer3(self.layer2(self.layer1(x)))
        y: Tensor = self.fc(x.mean((2, 3)))
        return y


class Dense(nn.Module):
    """The first maps are used again at the end: no single tensor crosses anywhere between."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        a = self.first(x)
        b = self.second(a)
        y: Tensor = self.fc(torch.cat([a, b], 1).mean((2, 3)))
        return y


class Branching(nn.Module):
    """What it does depends on its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))


def test_stages_end_where_maps_shrink_at_their_share_of_the_macs() -> None:
    macs = [16 * 16 * 4 * 9, 8 * 8 * 8 * 4 * 9, 4 * 4 * 8 * 8 * 9, 8 * 5]
    ends = [p for p in places(plain(), torch.zeros(1, *SHAPE)) if p.ends_stage]
    assert [p.name for p in ends] == ["1", "3"]
    assert [p.share for p in ends] == pytest.approx([macs[0] / sum(macs), sum(macs[:2]) / sum(macs)])
    assert [p.shape for p in ends] == [(1, 4, 16, 16), (1, 8, 8, 8)]


def test_one_exit_stands_where_it_halves_the_macs_best() -> None:
    assert multi_exit(exits=1).after == ("3",), "9216, 18432, 9216 and the classifier's 40 MACs"
    assert multi_exit(exits=2).after == ("1", "3")


def test_the_last_exit_is_the_network_itself() -> None:
    torch.manual_seed(0)
    network = plain().eval()
    before = copy.deepcopy(network.state_dict())
    multi = attach(network)
    x = images()
    assert torch.equal(multi.all_logits(x)[-1], network(x))
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert multi.train()(x).shape == (3, len(x), CLASSES)
    assert multi.eval()(x).shape == (len(x), CLASSES)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_takes_an_exit(name: str) -> None:
    if name == "imported":
        pytest.skip("has no network of its own")
    space = joint_space({name: FAMILIES[name]}, {}, Range(32, 32, 4), {}, {})
    torch.manual_seed(0)
    network = FAMILIES[name].build(space.baseline.knobs, (3, 32, 32), 10).eval()
    x = torch.randn(4, 3, 32, 32)
    multi = attach(network, (3, 32, 32), exits=1)
    torch.testing.assert_close(multi.all_logits(x)[-1], network(x))
    assert multi.all_logits(x)[0].shape == (4, 10)


@pytest.mark.parametrize(
    ("family", "earlier", "now"),
    [
        ("mbconv", "0", "stem.conv"),
        ("mbconv", "4", "stages.1.0"),
        ("mbconv", "4.body.0", "stages.1.0.expand"),
        ("resnet", "5", "stages.0.2"),
        ("macro", "4", "stages.0.1"),
        ("vit", "blocks.1", "blocks.1"),
        ("mbconv", "stages.1", "stages.1"),
    ],
)
def test_layers_that_were_numbered_are_found_by_their_earlier_names(family: str, earlier: str, now: str) -> None:
    knobs = {"mbconv.scaling": "free", "mbconv.depth": 1.0} if family == "mbconv" else {}
    space = joint_space({family: FAMILIES[family]}, {}, Range(32, 32, 4), knobs, {})
    network = FAMILIES[family].build(space.baseline.knobs, (3, 32, 32), 10)
    assert attach(network, (3, 32, 32), exits=1, after=earlier).after == (now,)


def test_an_imported_network_takes_exits_after_named_stages() -> None:
    torch.manual_seed(0)
    network = Named().eval()
    x = images(8)
    for after in (("layer1", "layer2"), ("layer1.0", "layer2.1")):
        multi = attach(network, after=", ".join(after))
        assert multi.after == after
        torch.testing.assert_close(multi.all_logits(x)[-1], network(x))
    assert attach(network, exits=1, after="layer2,layer1").after == ("layer1",), "0.60 of the MACs, not 0.87"


@pytest.mark.parametrize(
    ("network", "knobs", "reason"),
    [
        (plain, {"exits": 3}, "3 exits are more than the 2 places between stages; allowed in early_exit.after: 0, 1"),
        (plain, {"after": "1,9"}, "no exit can stand after '9'; allowed: 0, 1, 2, 3"),
        (plain, {"after": "1"}, "2 exits are more than the 1 place that early_exit.after names"),
        (Named, {"after": "layer4"}, "no exit can stand after 'layer4'; allowed: stem, layer1"),
        (Dense, {"exits": 1}, "no place between stages for an exit; allowed in early_exit.after: first"),
        (plain, {"rule": "patience", "exits": 1}, "'patience' with 1 exit never leaves early"),
        (Branching, {}, "the network cannot be cut into stages"),
    ],
)
def test_exits_that_cannot_be_are_refused(network: type[nn.Module], knobs: dict[str, object], reason: str) -> None:
    with pytest.raises(InfeasibleCandidate, match="early_exit") as refused:
        attach(network(), **knobs)
    assert reason in str(refused.value)


def test_rules_by_hand() -> None:
    odds = torch.tensor([[0.9, 0.05, 0.05], [0.6, 0.2, 0.2], [0.75, 0.25, 1e-12]]).log()
    entropy = [-(0.9 * math.log(0.9) + 0.1 * math.log(0.05)), 0.950, 0.562]
    assert ExitRule("confidence", (0.74,)).leaves([odds])[:, 0].tolist() == [True, False, True]
    each = ExitRule("confidence", (0.8, 0.5))
    assert each.leaves([odds])[:, 0].tolist() == [True, False, False], "the first exit's threshold"
    assert each.leaves([odds.flip(0), odds])[:, 0].tolist() == [True, True, True], "the second's"
    strict = 1 - (entropy[0] + 1e-3) / math.log(3)
    assert ExitRule("entropy", (strict,)).leaves([odds])[:, 0].tolist() == [True, False, False]
    assert ExitRule("entropy", (1 - 0.57 / math.log(3),)).leaves([odds])[:, 0].tolist() == [True, False, True]
    other = odds.flip(1).clone()
    other[0] = odds[0]
    assert not ExitRule("patience").leaves([odds]).any(), "nothing to agree with yet"
    assert ExitRule("patience").leaves([odds, other])[:, 0].tolist() == [True, False, False]
    assert ExitRule("patience").leaves([odds, other, other]).all(), "the last two alone count"


def test_each_image_has_the_logits_of_the_exit_it_takes() -> None:
    multi, x = multi_exit(threshold=0.6), images()
    logits = multi.all_logits(x)
    taken = multi.taken(logits)
    assert set(taken.tolist()) == {0, 1, 2}
    for row, exit_ in enumerate(taken):
        assert torch.equal(multi(x)[row], logits[exit_][row])
        sure = [bool(logits[i][row].softmax(0).max() >= 0.6) for i in range(2)]
        assert exit_ == (sure.index(True) if any(sure) else 2)


def test_the_loss_of_exits_by_hand() -> None:
    multi = multi_exit(weight=0.25)
    logits = torch.randn(3, 6, CLASSES, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.arange(6) % CLASSES
    expected = torch.zeros(())
    teacher = (logits[2] / 2).softmax(1)
    for own in logits[:2]:
        soft = (teacher * (teacher.log() - (own / 2).log_softmax(1))).sum(1).mean()
        expected = expected + 0.5 * F.cross_entropy(own, labels) + 0.5 * 4 * soft
    loss = multi.early_loss(logits, labels)
    torch.testing.assert_close(loss, 0.25 * expected)
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad[2].any(), "the teacher does not learn from its pupils"
    assert logits.grad[:2].abs().sum() > 0


@pytest.mark.parametrize("head", ["linear", "convolution"])
def test_pruned_exits_still_answer_all_classes(head: str) -> None:
    multi, x = multi_exit(head=head), images()
    assert CHANNEL_PRUNING.transform is not None
    pruned = CHANNEL_PRUNING.transform(multi, {"ratio": 0.5}, TransformContext(torch.zeros(1, *SHAPE)))
    assert [logits.shape for logits in pruned.all_logits(x)] == [(len(x), CLASSES)] * 3
    assert sum(p.numel() for p in pruned.parameters()) < sum(p.numel() for p in multi.parameters())
    assert pruned.heads[0][-1].in_features < multi.heads[0][-1].in_features or head == "linear"
    assert pruned.rule == multi.rule


def test_low_rank_factors_stages_and_keeps_exits() -> None:
    multi, x = multi_exit(), images()
    assert LOW_RANK.transform is not None
    factored = LOW_RANK.transform(multi, {"ratio": 0.25}, TransformContext(torch.zeros(1, *SHAPE)))
    assert [logits.shape for logits in factored.all_logits(x)] == [(len(x), CLASSES)] * 3
    assert sum(p.numel() for p in factored.parameters()) < sum(p.numel() for p in multi.parameters())


@pytest.mark.parametrize(
    ("knobs", "rules"),
    [
        ({}, {1: {"confidence", "entropy"}, 2: {"confidence", "entropy", "patience"}}),
        ({"early_exit.rule": ["entropy", "patience"]}, {1: {"entropy"}, 2: {"entropy", "patience"}}),
        ({"early_exit.rule": "patience"}, {2: {"patience"}}),
        ({"early_exit.exits": 1}, {1: {"confidence", "entropy"}}),
        ({"early_exit.exits": 1, "early_exit.rule": "patience"}, {1: {"patience"}}),
    ],
)
def test_patience_goes_with_two_exits(knobs: dict[str, object], rules: dict[int, set[str]]) -> None:
    space = joint_space(
        {"mbconv": FAMILIES["mbconv"]}, {"early_exit": EARLY_EXIT}, Range(16, 16, 4), {"mbconv.depth": 1.0, **knobs}, {}
    )
    drawn = [space.draw(seed) for seed in range(100)]
    found: dict[int, set[str]] = {}
    for exits in (candidate.steps["early_exit"] for candidate in drawn if candidate.steps):
        found.setdefault(int(exits["exits"]), set()).add(str(exits["rule"]))
        assert ("threshold" in exits) == (exits["rule"] != "patience")
    assert found == rules
    assert all(space.candidate(space.values(candidate)) == candidate for candidate in drawn)


def test_an_open_choice_takes_any_text_and_nothing_else() -> None:
    knob = Choice(("",), open=True)
    assert knob.narrowed("layer1,layer2").values == ("layer1,layer2",)
    assert knob.narrowed(["layer1", "layer2"]).values == ("layer1", "layer2")
    assert knob.lowest == ""
    assert knob.narrowed(5).values == ("5",), "layers of a plain sequence are numbers"
    assert knob.narrowed([5, "7,8"]).values == ("5", "7,8")
    for value in (1.1, True, [1.1]):  # in YAML 1.10 is 1.1
        with pytest.raises(SpaceError, match="is not allowed; allowed: any text, this one in quotes"):
            knob.narrowed(value)
