"""The command `paredown families`."""

import json
from collections.abc import Sequence

import pytest
from typer.testing import CliRunner

from paredown.search.architectures import family_range, size
from paredown.search.cli import app
from paredown.search.errors import ConfigError
from paredown.spaces.families.catalogue import FAMILIES
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
    assert found.least.macs < min(drawn)
    assert max(drawn) < found.most.macs
    assert found.least.macs < found.baseline.macs < found.most.macs


@pytest.mark.slow
def test_json_holds_every_family() -> None:
    document = json.loads(printed(["--json", "--channels", "3", "--classes", "7", "--resolutions", "8-8"]))
    assert document["task"] == {"channels": 3, "classes": 7, "resolutions": [8, 8]}
    assert [one["family"] for one in document["families"]] == list(FAMILIES)
    for one in document["families"]:
        assert one["networks"] > 1000
        assert one["least"]["macs"] < one["most"]["macs"]
        assert one["least"]["resolution"] == one["most"]["resolution"] == 8
        assert set(one["knobs"]) == set(FAMILIES[one["family"]].knobs(Range(8, 8, 4)))


@pytest.mark.slow
def test_variants_are_listed_with_their_figures() -> None:
    lines = printed(["--variants"]).splitlines()
    assert any(line.split() == ["resnet20", "resnet", "32", "10", "269,722", "40.6M"] for line in lines)
    assert len(lines) == 1 + sum(len(family.variants) for family in FAMILIES.values())


@pytest.mark.parametrize("text", ["9-16", "16-8", "8-", "0-8", "x", "8-2048", "-8"])
def test_resolutions_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--resolutions: .* is not allowed; allowed: LOW-HIGH such as 8-32"):
        CliRunner().invoke(app, ["families", f"--resolutions={text}"], catch_exceptions=False)


@pytest.mark.parametrize("option", ["--channels", "--classes"])
def test_counts_that_cannot_be_are_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=f"^{option}: 0 is not allowed; allowed: whole numbers from 1$"):
        CliRunner().invoke(app, ["families", option, "0"], catch_exceptions=False)
