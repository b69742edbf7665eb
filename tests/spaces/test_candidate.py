"""Candidates: what makes two of them one."""

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paredown.spaces.candidate import Candidate, digest_of
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.knob import Range
from paredown.spaces.space import joint_space

SPACE = joint_space(FAMILIES, STEPS, Range(8, 32, 4), {}, {})
ONE = Candidate("net", {"a": 1, "b": 0.5}, {"prune": {"ratio": 0.25}, "split": {"ratio": 0.5}})


def test_the_digest_is_the_sha256_of_the_canonical_json() -> None:
    text = '{"family":"net","knobs":{"a":1},"steps":{"s":{"x":0.5}}}'
    assert Candidate("net", {"a": 1}, {"s": {"x": 0.5}}).digest == hashlib.sha256(text.encode()).hexdigest()
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest_of({"a": float("nan")})


def test_the_order_of_knobs_does_not_matter() -> None:
    other = Candidate("net", {"b": 0.5, "a": 1}, {"split": {"ratio": 0.5}, "prune": {"ratio": 0.25}})
    assert other == ONE
    assert other.digest == ONE.digest
    assert len({other, ONE}) == 1


@pytest.mark.parametrize(
    "other",
    [
        Candidate("web", ONE.knobs, ONE.steps),
        Candidate("net", {"a": 2, "b": 0.5}, ONE.steps),
        Candidate("net", {"a": 1}, ONE.steps),
        Candidate("net", {"a": True, "b": 0.5}, ONE.steps),
        Candidate("net", ONE.knobs, {"prune": {"ratio": 0.25}}),
        Candidate("net", ONE.knobs, {"prune": {"ratio": 0.5}, "split": {"ratio": 0.5}}),
        Candidate("net", ONE.knobs),
    ],
)
def test_whatever_differs_changes_the_digest(other: Candidate) -> None:
    assert other.digest != ONE.digest


def test_the_uncompressed_one_keeps_the_architecture_only() -> None:
    assert ONE.uncompressed == Candidate("net", {"a": 1, "b": 0.5}, {})
    assert ONE.uncompressed.uncompressed == ONE.uncompressed


def test_in_words() -> None:
    assert str(ONE) == "net(a=1, b=0.5) + prune(ratio=0.25) + split(ratio=0.5)"
    assert str(Candidate("net", {})) == "net()"


@given(st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_through_json_and_back(seed: int) -> None:
    candidate = SPACE.draw(seed)
    back = Candidate.from_json(json.loads(json.dumps(candidate.to_json())))
    assert back == candidate
    assert back.digest == candidate.digest
    assert list(back.steps) == list(candidate.steps)


def test_changing_what_to_json_returned_leaves_the_candidate_alone() -> None:
    before = ONE.digest
    ONE.to_json()["knobs"]["a"] = 9
    ONE.to_json()["steps"]["prune"]["ratio"] = 9
    assert ONE.digest == before


@pytest.mark.parametrize("written", [{"mbconv.phi": 2}, {"mbconv.phi": 2.0}, {"mbconv.kernel": 3.0, "mbconv.phi": 2}])
def test_a_number_has_one_digest_however_it_is_written(written: dict[str, float]) -> None:
    plain = joint_space(FAMILIES, STEPS, Range(8, 32, 4), {}, {"mbconv.phi": 2.0, "mbconv.kernel": 3})
    assert joint_space(FAMILIES, STEPS, Range(8, 32, 4), {}, written).baseline.digest == plain.baseline.digest
