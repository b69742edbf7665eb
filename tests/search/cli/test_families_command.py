"""The command `paredown families`."""

import contextlib
import itertools
import json
from collections.abc import Sequence

import pytest
from typer.testing import CliRunner

from paredown.search.cli.app import app
from paredown.search.errors import ConfigError
from paredown.search.one_network.family_sizes import family_range, size
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.families import catalogue
from paredown.spaces.families.catalogue import FAMILIES, PUBLISHED
from paredown.spaces.knob import Range
from paredown.spaces.space import joint_space


def printed(arguments: Sequence[str]) -> str:
    result = CliRunner().invoke(app, ["families", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.mark.parametrize("name", ["efficientnet", "macro", "mobilenet", "vit"])
def test_draws_lie_between_the_least_and_the_most(name: str) -> None:
    found = family_range(FAMILIES[name], 1, 10, Range(8, 16, 4))
    space = joint_space({name: FAMILIES[name]}, {}, Range(8, 16, 4), {}, {})
    drawn = [size(FAMILIES[name], space.draw(seed).knobs, 1, 10).macs for seed in range(6)]
    assert found.least is not None
    assert found.baseline is not None
    assert found.most is not None
    assert found.least.macs < min(drawn)
    assert max(drawn) < found.most.macs
    assert found.least.macs < found.baseline.macs < found.most.macs


@pytest.mark.parametrize(
    ("name", "choice", "low", "high"),
    [
        pytest.param("efficientnet", "stem", 60, 72, marks=pytest.mark.slow),
        ("mobilenet", "stem", 28, 72),
        ("mobilenet", "stem", 64, 72),
        ("macro", "operator_1", 4, 16),
        ("vit", "patch", 4, 72),
        ("vit", "patch", 64, 264),
    ],
)
def test_no_value_of_an_unordered_choice_goes_beyond_the_least_and_the_most(
    name: str, choice: str, low: int, high: int
) -> None:
    family, sides = FAMILIES[name], Range(low, high, 4)
    found = family_range(family, 1, 10, sides)
    assert found.least is not None
    assert found.most is not None
    space = joint_space({name: family}, {}, sides, {}, {})
    scaling = {"efficientnet.scaling": "free"} if name == "efficientnet" else {}
    for end, tried in (("lowest", sides.values[:8]), ("highest", sides.values[-8:])):
        values = {knob: getattr(of, end) for knob, of in space.knobs.items()} | scaling
        built = 0
        for value, side in itertools.product(space.knobs[f"{name}.{choice}"].values, tried):
            candidate = space.candidate(values | {f"{name}.{choice}": value, f"{name}.resolution": side})
            with contextlib.suppress(InfeasibleCandidate):
                macs = size(family, candidate.knobs, 1, 10).macs
                assert found.least.macs <= macs <= found.most.macs, (value, side)
                built += 1
        assert built


def test_the_stem_of_most_macs_is_found_where_only_the_other_fits_the_smallest_images() -> None:
    found = family_range(FAMILIES["mobilenet"], 3, 10, Range(8, 224, 4))
    space = joint_space({"mobilenet": FAMILIES["mobilenet"]}, {}, Range(8, 224, 4), {}, {})
    largest = {name: knob.highest for name, knob in space.knobs.items()} | {"mobilenet.stem": "small"}
    assert found.most == size(FAMILIES["mobilenet"], space.candidate(largest).knobs, 3, 10)


def test_the_most_of_compound_scaling_is_not_far_below_what_values_in_between_reach() -> None:
    family, sides = FAMILIES["efficientnet"], Range(8, 64, 4)
    found = family_range(family, 1, 10, sides)
    space = joint_space({"efficientnet": family}, {}, sides, {}, {})
    values = {name: knob.highest for name, knob in space.knobs.items()}
    values |= {"efficientnet.scaling": "compound", "efficientnet.stem": "small"}
    between = size(family, space.candidate(values | {"efficientnet.alpha": 1.2}).knobs, 1, 10)  # beta 1.2: gamma 1.1
    corner = size(family, space.candidate(values).knobs, 1, 10)
    assert found.most is not None
    assert corner.macs < found.most.macs
    assert between.macs < 1.06 * found.most.macs


def test_a_family_that_cannot_be_built_has_a_row_and_a_reason() -> None:
    head, *lines = printed(["--resolutions", "4-4"]).splitlines()
    assert head.split("  ")[0] == "family"
    table, said = lines[: 2 * len(PUBLISHED)], lines[2 * len(PUBLISHED) :]
    assert max(len(line) for line in (head, *table)) <= 80
    rows = {macs.split()[0]: macs.split()[4:] for macs in table[::2]}
    assert list(rows) == list(PUBLISHED)
    assert {name for name, cells in rows.items() if cells[:3] == ["none"] * 3} == {"efficientnet", "macro", "mobilenet"}
    assert rows["resnet"] == ["12.3", "k", "634", "k", "31.7", "M", "4"]
    assert table[2 * list(rows).index("resnet") + 1].split() == ["params", "4.93", "k", "272", "k", "13.7", "M"]
    reason = "images of 4 px are too small for its strides, 8 in all; allowed: from 8 px"
    assert said == [f"{n} cannot be built at 4-4 px: {reason}" for n in ("efficientnet", "macro", "mobilenet")]


def test_json_of_a_family_that_cannot_be_built_and_values_of_knobs() -> None:
    families = {one["family"]: one for one in json.loads(printed(["--json", "--resolutions", "4-4"]))["families"]}
    macro, resnet = families["macro"], families["resnet"]
    assert (macro["least"], macro["baseline"], macro["most"]) == (None, None, None)
    assert macro["refusal"].startswith("images of 4 px are too small")
    assert resnet["refusal"] is None
    assert resnet["baseline"] == {"resolution": 4, "macs": 633_728, "params": 272_186}
    assert resnet["knobs"]["shortcut"] == ["padded", "projected"]
    assert resnet["knobs"]["width"] == {"low": 0.25, "high": 4.0, "step": 0.25}
    assert macro["knobs"]["skip_1"] == [False, True]


@pytest.mark.slow
def test_a_baseline_that_cannot_be_built_leaves_the_rest_of_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "PUBLISHED", {"vit": FAMILIES["vit"]})  # at 512 px the others take long
    lines = printed(["--resolutions", "512-516"]).splitlines()
    row = next(line for line in lines if line.startswith("vit ")).split()
    assert row[6] == "none", "the baseline, after the least and its unit"
    assert row[8:] == ["G", "1"]
    assert lines[-1].startswith(
        "the baseline of vit cannot be built at 512-516 px: images of 516 x 516 px make 33 x 33"
    )


@pytest.mark.slow
def test_json_holds_every_family() -> None:
    document = json.loads(printed(["--json", "--channels", "3", "--classes", "7", "--resolutions", "8-8"]))
    assert document["task"] == {"channels": 3, "classes": 7, "resolutions": [8, 8]}
    assert [one["family"] for one in document["families"]] == list(PUBLISHED)
    for one in document["families"]:
        assert one["networks"] > 1000
        assert one["least"]["macs"] < one["most"]["macs"]
        assert one["least"]["resolution"] == one["most"]["resolution"] == 8
        assert set(one["knobs"]) == set(FAMILIES[one["family"]].knobs(Range(8, 8, 4)))


@pytest.mark.slow
def test_variants_are_listed_with_their_figures() -> None:
    lines = printed(["--variants"]).splitlines()
    assert any(line.split() == ["resnet20", "resnet", "32", "10", "269,722", "40.6", "M"] for line in lines)
    assert len(lines) == 1 + sum(len(family.variants) for family in FAMILIES.values())


@pytest.mark.parametrize("text", ["9-16", "16-8", "8-", "0-8", "x", "8-2048", "-8"])
def test_resolutions_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--resolutions: .* is not allowed; allowed: LOW-HIGH such as 8-32"):
        CliRunner().invoke(app, ["families", f"--resolutions={text}"], catch_exceptions=False)


@pytest.mark.parametrize("option", ["--channels", "--classes"])
def test_counts_that_cannot_be_are_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=f"^{option}: 0 is not allowed; allowed: whole numbers from 1$"):
        CliRunner().invoke(app, ["families", option, "0"], catch_exceptions=False)
