"""Published and hand-computed figures of the architecture families."""

import math

import pytest
import torch
from torch import nn

from paredown.search.one_network.family_sizes import Size, networks, size
from paredown.spaces.candidate import Candidate
from paredown.spaces.errors import InfeasibleCandidate, SpaceError
from paredown.spaces.families import efficientnet, mbconv, vit
from paredown.spaces.families.catalogue import FAMILIES, variant
from paredown.spaces.families.layers import InvertedBottleneck, divisible
from paredown.spaces.knob import Choice, Range
from paredown.spaces.space import joint_space

PUBLISHED = {  # EfficientNet, table 2: MACs in G; parameters of the published networks for 1,000 classes
    "b0": (224, 5_288_548, 0.39),
    "b1": (240, 7_794_184, 0.70),
    "b2": (260, 9_109_994, 1.0),
    "b3": (300, 12_233_232, 1.8),
    "b4": (380, 19_341_616, 4.2),
    "b5": (456, 30_389_784, 9.9),
    "b6": (528, 43_040_704, 19.0),
    "b7": (600, 66_347_960, 37.0),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_efficientnet_is_the_published_one(name: str) -> None:
    resolution, params, giga_macs = PUBLISHED[name]
    counted = size(*variant(f"efficientnet_{name}"), channels=3, classes=1000)
    assert (counted.resolution, counted.params) == (resolution, params)
    assert counted.macs == pytest.approx(giga_macs * 1e9, rel=0.05)


@pytest.mark.parametrize(
    ("name", "classes", "params", "macs"),
    [
        ("resnet20", 10, 269_722, 40.55e6),  # He et al., table 6: 0.27 M
        ("resnet32", 10, 464_154, 68.86e6),  # 0.46 M
        ("resnet44", 10, 658_586, 97.17e6),  # 0.66 M
        ("resnet56", 10, 853_018, 125.49e6),  # 0.85 M
        ("mobilenet_v2", 1000, 3_504_872, 300.8e6),  # Sandler et al., table 4: 3.4 M, 300 M
        # DeiT-Ti has 5,717,416, among them a class token of 192 and 197 trained positions of 192
        ("vit_tiny", 1000, 5_717_416 - 192 - 197 * 192, 1.2466e9),
    ],
)
def test_variants_are_the_published_ones(name: str, classes: int, params: int, macs: float) -> None:
    counted = size(*variant(name), channels=3, classes=classes)
    assert counted.params == params
    assert counted.macs == pytest.approx(macs, rel=1e-3)


def test_a_small_residual_network_counted_by_hand() -> None:
    family, knobs = variant("resnet20")
    counted = size(family, knobs | {"blocks": 1}, 1, 10, resolution=8)
    stem, head = 9 * 16, 64 * 10
    first, second, third = 2 * 9 * 16 * 16, 9 * 16 * 32 + 9 * 32 * 32, 9 * 32 * 64 + 9 * 64 * 64
    norms = 2 * (3 * 16 + 2 * 32 + 2 * 64)
    assert counted.params == stem + first + second + third + norms + head + 10
    assert counted.macs == 64 * (stem + first) + 16 * second + 4 * third + head
    assert counted.resolution == 8


def test_shortcut_a_adds_every_other_pixel_to_the_first_channels() -> None:
    family, knobs = variant("resnet20")
    block = family.build(knobs | {"blocks": 1}, (1, 8, 8), 10).get_submodule("stages.1.0")
    for layer in block.children():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.zeros_(layer.weight)  # the body is silent: what comes out is the shortcut
    x = torch.rand(1, 16, 8, 8)
    y = block(x)
    assert torch.equal(y[:, :16], x[:, :, ::2, ::2])
    assert y.shape == (1, 32, 4, 4)
    assert not y[:, 16:].any()


def test_a_transformer_counted_by_hand() -> None:
    knobs = {"patch": 4, "depth": 1, "heads": 2, "head_width": 8, "mlp_ratio": 2.0, "resolution": 8}
    counted = size(FAMILIES["vit"], knobs, 1, 5)
    patches, project, perceptron, head = 16 * 16, 4 * 16 * 16, 2 * 16 * 32, 16 * 5
    biases, norms = 16 + 4 * 16 + 32 + 16 + 5, 3 * 2 * 16
    attention = 2 * 4 * 4 * 16  # queries with keys, weights with values: 4 patches, width 16
    assert counted == Size(
        8,
        4 * (patches + project + perceptron) + attention + head,
        patches + project + perceptron + head + biases + norms,
    )


def test_positions_are_sines_and_cosines_of_column_and_row() -> None:
    at = vit.positions(2, 3, 4)  # one frequency, 1
    assert at.shape == (6, 4)
    column, row = 2, 1
    wanted = [math.sin(column), math.cos(column), math.sin(row), math.cos(row)]
    assert at[5].tolist() == pytest.approx(wanted, abs=1e-6)


def test_an_image_that_patches_do_not_divide_is_padded() -> None:
    knobs = {"patch": 8, "depth": 1, "heads": 1, "head_width": 8, "mlp_ratio": 1.0, "resolution": 12}
    network = FAMILIES["vit"].build(knobs, (1, 12, 12), 3)
    assert network.positions.shape == (4, 8)
    assert network(torch.rand(2, 1, 12, 12)).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "changes", "side", "said"),
    [
        ("efficientnet_b0", {}, 16, "efficientnet: images of 16 px are too small for its strides, 32 in all"),
        ("efficientnet_b0", {"stem": "small"}, 4, "efficientnet: images of 4 px are too small for its strides, 8 in"),
        ("mobilenet_v2", {}, 28, "mobilenet: images of 28 px are too small for its strides, 32 in all; allowed: from"),
        ("resnet20", {}, 2, "resnet: images of 2 px are too small for its strides, 4 in all; allowed: from 4 px"),
        ("vit_tiny", {}, 16, "vit: images of 16 x 16 px make 1 x 1 patches of 16 px; allowed: at least 2 x 2"),
        ("vit_tiny", {"patch": 4}, 224, "vit: images of 224 x 224 px make 56 x 56 patches of 4 px; allowed: at most"),
    ],
)
def test_what_cannot_be_built_is_refused_with_the_reason(
    name: str, changes: dict[str, object], side: int, said: str
) -> None:
    family, knobs = variant(name)
    with pytest.raises(InfeasibleCandidate) as refusal:
        family.build({**knobs, **changes}, (3, side, side), 10)
    assert str(refusal.value).startswith(said)


def test_an_unknown_name_is_refused_with_those_that_exist() -> None:
    with pytest.raises(SpaceError, match=r"^'resnet21' is no named network; allowed: .*resnet20, resnet32"):
        variant("resnet21")


@pytest.mark.parametrize(
    ("channels", "rounded"), [(32, 32), (35.2, 32), (17.6, 16), (26.4, 24), (3, 8), (12, 16), (19.9, 24), (10.8, 16)]
)
def test_channels_are_multiples_and_no_less_than_nine_tenths(channels: float, rounded: int) -> None:
    assert divisible(channels) == rounded


def test_equation_three_holds_for_every_pair_of_coefficients() -> None:
    knobs = FAMILIES["efficientnet"].knobs(Range(8, 32, 4))
    assert efficientnet.gamma(1.2, 1.1) == 1.15, "the published one"
    for alpha in (1.0, 1.1, 1.2, 1.35):
        for beta in (1.0, 1.1, 1.2):
            assert alpha in knobs["alpha"]
            assert beta in knobs["beta"]
            cost = alpha * beta**2 * efficientnet.gamma(alpha, beta) ** 2
            assert cost == pytest.approx(2, rel=0.06)


def test_compound_scaling_of_efficientnet() -> None:
    knobs = {"scaling": "compound", "alpha": 1.2, "beta": 1.1, "smallest_resolution": 8, "resolution_at_zero": 24}
    of = lambda phi: efficientnet.scaling(knobs | {"phi": phi, "largest_resolution": 32})  # noqa: E731
    assert of(0.0) == (1.0, 1.0, 24)
    assert of(1.0) == (pytest.approx(1.2), pytest.approx(1.1), 28)  # 27.6
    assert of(2.0)[2] == 32
    assert of(7.0)[2] == 32, "held to the task's largest"
    assert of(-12.0)[2] == 8, "held to the task's smallest"


@pytest.mark.parametrize("low", [4, 8])
@pytest.mark.parametrize("name", ["efficientnet", "vit"])
def test_the_baseline_is_built_for_all_largest_sides_that_the_space_can_serve(name: str, low: int) -> None:
    family, least = FAMILIES[name], {"efficientnet": 8, "vit": 4}[name]
    for high in range(max(low, least), 260, 4):
        space = joint_space({name: family}, {}, Range(low, high, 4), {}, {})
        side = family.resolution(space.baseline.knobs)
        with torch.device("meta"):
            assert isinstance(family.build(space.baseline.knobs, (3, side, side), 10), nn.Module), high


@pytest.mark.parametrize(
    ("high", "stem", "side"), [(60, "small", 52), (64, "small", 28), (68, "small", 28), (72, "image", 32)]
)
def test_the_baseline_of_efficientnet_has_the_published_stem_where_its_strides_fit(
    high: int, stem: str, side: int
) -> None:
    space = joint_space({"efficientnet": FAMILIES["efficientnet"]}, {}, Range(8, high, 4), {}, {})
    assert space.baseline.knobs["stem"] == stem
    assert FAMILIES["efficientnet"].resolution(space.baseline.knobs) == side


def test_the_largest_resolution_holds_mbconv_and_older_candidates_are_as_they_were() -> None:
    older = {"scaling": "compound", "phi": 7.0, "alpha": 1.0, "beta": 1.0, "gamma": 1.5, "smallest_resolution": 8}
    assert Candidate.from_json({"family": "mbconv", "knobs": older, "steps": {}}).knobs == older
    assert mbconv.scaling(older)[2] == 136  # 8 x 1.5^7 = 136.7
    assert mbconv.scaling(older | {"largest_resolution": 16})[2] == 16


def test_an_inverted_bottleneck_adds_only_where_shapes_agree() -> None:
    same, wider, halved = (
        InvertedBottleneck(8, outputs, stride, kernel=3, expansion=2, activation=nn.ReLU)
        for outputs, stride in ((8, 1), (16, 1), (8, 2))
    )
    assert (same.has_residual, wider.has_residual, halved.has_residual) == (True, False, False)
    assert [tuple(block(torch.rand(2, 8, 8, 8)).shape) for block in (same, wider, halved)] == [
        (2, 8, 8, 8),
        (2, 16, 8, 8),
        (2, 8, 4, 4),
    ]


def test_each_stage_of_macro_is_its_own() -> None:
    family = FAMILIES["macro"]
    knobs = {n: k.lowest for n, k in family.knobs(Range(8, 8, 4)).items()}
    plain = size(family, knobs, 1, 10)
    for stage, channels in ((2, 24), (3, 40), (4, 64)):
        more = size(family, knobs | {f"kernel_{stage}": 5}, 1, 10)
        inputs = divisible({24: 16, 40: 24, 64: 40}[channels] / 2)
        assert more.params - plain.params == inputs * (25 - 9), "one depthwise filter, of the stage's input"
    fused = size(family, knobs | {"operator_1": "fused"}, 1, 10)
    # dense 3 x 3 in place of 1 x 1 and depthwise 3 x 3, and one normalisation less
    assert fused.params - plain.params == 9 * 16 * 16 - (16 * 16 + 9 * 16) - 2 * 16


def test_networks_are_counted_by_what_is_active() -> None:
    knobs = {
        "mode": Choice(("a", "b")),
        "x": Range(1, 3, 1, only_if=("mode", "a")),
        "y": Range(1, 5, 1, only_if=("mode", "b")),
        "z": Choice((1, 2)),
    }
    assert networks(knobs) == (3 + 5) * 2
