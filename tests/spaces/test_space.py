"""The joint space and its knobs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.errors import BaselineRefused, SpaceError
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.knob import Choice, Range, Value
from paredown.spaces.space import FAMILY, SearchSpace, joint_space

MBCONV = {"mbconv": FAMILIES["mbconv"]}
ALL = joint_space(FAMILIES, STEPS, Range(8, 32, 4), {}, {})


def space(**overrides: object) -> SearchSpace:
    return joint_space(MBCONV, STEPS, Range(8, 32, 4), {k.replace("__", "."): v for k, v in overrides.items()}, {})


def test_membership_is_by_step_and_type() -> None:
    assert 0.25 in Range(0.0, 0.75, 0.125)
    assert 0.3 not in Range(0.0, 0.75, 0.125)
    assert 32 in Range(8, 32, 4)
    assert 33 not in Range(8, 32, 4)
    assert True not in Range(0, 1, 1)
    assert True not in Choice((1, 2))
    assert True in Choice((False, True))


def test_nearest_is_allowed_and_near() -> None:
    assert Range(0.0, 0.75, 0.125).nearest(0.3) == 0.25
    assert Range(8, 32, 4).nearest(100) == 32
    assert isinstance(Range(8, 32, 4).nearest(9.6), int)
    assert Choice(("a", "b")).nearest("c") == "a"


def test_inactive_knobs_and_steps_are_dropped() -> None:
    values = space().values(Candidate("mbconv", {"scaling": "free", "depth": 2.0, "width": 1.0, "resolution": 16}))
    candidate = space().candidate({n: k.lowest for n, k in space().knobs.items()} | values)
    assert "phi" not in candidate.knobs
    assert candidate.knobs["depth"] == 2.0
    assert candidate.steps == {}
    other = values | {"mbconv.phi": 6.0, "distillation.temperature": 4}
    fixed = {n: k.lowest for n, k in space().knobs.items()}
    assert space().candidate(fixed | other) == candidate


def test_equal_networks_have_equal_digests_and_round_trip_through_json() -> None:
    first, second = space().draw(1), space().draw(2)
    assert Candidate.from_json(first.to_json()) == first
    assert Candidate.from_json(first.to_json()).digest == first.digest
    assert first.digest != second.digest
    reordered = Candidate(first.family, dict(reversed(first.knobs.items())), first.steps)
    assert reordered.digest == first.digest
    assert len(first.digest) == 64


@pytest.mark.parametrize("joint", [space(), ALL], ids=["one family", "all families"])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_values_of_a_candidate_give_the_candidate_back(joint: SearchSpace, seed: int) -> None:
    candidate = joint.draw(seed)
    fixed = {n: k.lowest for n, k in joint.knobs.items()}
    assert joint.candidate(fixed | joint.values(candidate)) == candidate
    knobs = {FAMILY: Choice(tuple(joint.families)), **joint.knobs}
    for name, value in joint.values(candidate).items():
        assert value in knobs[name]


def test_overrides_fix_narrow_and_drop() -> None:
    narrow = space(
        mbconv__kernel=5, mbconv__phi={"low": 1.0, "high": 3.0}, mbconv__activation=["relu"], low_rank__ratio=None
    )
    for seed in range(40):
        candidate = narrow.draw(seed)
        assert candidate.knobs["kernel"] == 5
        assert candidate.knobs["activation"] == "relu"
        assert 1 <= float(candidate.knobs.get("phi", 1.0)) <= 3
        assert "low_rank" not in candidate.steps
    assert narrow.baseline.knobs["phi"] == 3.0
    assert narrow.baseline.knobs["kernel"] == 5


def test_the_baseline_is_the_largest_and_uncompressed_unless_named() -> None:
    assert space().baseline.knobs["phi"] == 7.0
    assert space().baseline.steps == {}
    named = joint_space(FAMILIES, STEPS, Range(8, 32, 4), {}, {"mbconv.phi": 2.0})
    assert named.baseline.knobs["phi"] == 2.0


@pytest.mark.parametrize(
    ("name", "spec", "said"),
    [
        ("mbconv.colour", 3, "mbconv.colour: no such knob"),
        ("mbconv.kernel", 4, "mbconv.kernel: 4 is not allowed; allowed: one of 3, 5"),
        ("mbconv.phi", {"low": 3.0, "high": 1.0}, "upside down"),
        ("mbconv.phi", {"low": 0.0, "high": 99.0}, "99.0 is not allowed"),
        ("mbconv.phi", {"least": 0.0}, "unknown key 'least'"),
        ("mbconv.phi", {"low": 0.0, "high": 7.0, "step": 0.3}, "multiple"),
        ("mbconv.phi", "many", "no number"),
        ("channel_pruning.ratio", 1.0, "1.0 is not allowed"),
        ("low_rank.ratio", 0, "0 is not allowed"),
        ("mbconv.activation", [], "nothing to choose"),
    ],
)
def test_what_cannot_be_is_refused_by_name(name: str, spec: object, said: str) -> None:
    with pytest.raises(SpaceError, match=said):
        joint_space(FAMILIES, STEPS, Range(8, 32, 4), {name: spec}, {})


def test_compound_scaling_follows_its_equation() -> None:
    from paredown.spaces.families.mbconv import scaling

    knobs = {"scaling": "compound", "phi": 2.0, "alpha": 1.2, "beta": 1.1, "gamma": 1.15, "smallest_resolution": 12}
    depth, width, resolution = scaling(knobs)
    assert (depth, width) == (pytest.approx(1.44), pytest.approx(1.21))
    assert resolution == 16  # 12 x 1.3225 = 15.87, to a multiple of 4


class Replay:
    """A sampler that answers what it was given, as a trial does that was enqueued."""

    def __init__(self, values: dict[str, Value]) -> None:
        self.left = dict(values)

    def suggest_categorical(self, name: str, choices: tuple[Value, ...]) -> Value:
        assert self.left[name] in choices
        return self.left.pop(name)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        value = self.left.pop(name)
        assert isinstance(value, int)
        assert value in range(low, high + 1, step)
        return value

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None = None) -> float:
        value = self.left.pop(name)
        assert isinstance(value, float)
        assert low <= value <= high
        return value


@pytest.mark.parametrize("joint", [space(), ALL], ids=["one family", "all families"])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_a_candidate_that_is_enqueued_is_the_one_that_is_sampled(joint: SearchSpace, seed: int) -> None:
    candidate = joint.draw(seed)
    replay = Replay(joint.values(candidate))
    sampled = joint.sample(replay)
    assert (sampled, sampled.digest) == (candidate, candidate.digest)
    assert not replay.left, "values of knobs that nobody asks"


def test_the_same_seed_draws_the_same_candidate() -> None:
    assert space().draw(5) == space().draw(5)
    assert len({space().draw(seed).digest for seed in range(50)}) > 45


def test_dropping_takes_a_step_out_and_sets_another_knob_to_its_lowest() -> None:
    dropped = space(**{f"{name}__{step.switch}": None for name, step in STEPS.items()}, mbconv__expansion=None)
    for seed in range(20):
        assert dropped.draw(seed).steps == {}
        assert dropped.draw(seed).knobs["expansion"] == 2


def open_knobs(joint: SearchSpace, owner: str) -> set[str]:
    return {n.partition(".")[2] for n, k in joint.knobs.items() if n.startswith(f"{owner}.") and not k.is_fixed}


def test_a_knob_whose_condition_cannot_hold_in_the_narrowed_space_is_not_asked() -> None:
    scaled = {"mbconv__scaling": "compound"}
    narrow = space(low_rank__rule="ratio", channel_pruning__scope=["layer", "global"], **scaled)
    assert open_knobs(narrow, "low_rank") == {"ratio", "kernel"}
    assert open_knobs(narrow, "channel_pruning") == {"ratio", "importance", "scope", "multiple"}
    assert not {"depth", "width", "resolution"} & open_knobs(narrow, "mbconv")
    assert {"phi", "alpha"} <= open_knobs(narrow, "mbconv")
    pinned = space(
        low_rank__rule="ratio",
        low_rank__energy=None,
        channel_pruning__scope=["layer", "global"],
        **{f"channel_pruning__{third}": None for third in ("early", "middle", "late")},
        **{f"mbconv__{name}": None for name in ("depth", "width", "resolution")},
        **scaled,
    )
    assert narrow.describe() == pinned.describe()
    assert [narrow.draw(seed) for seed in range(20)] == [pinned.draw(seed) for seed in range(20)]


def test_a_condition_on_a_knob_that_never_counts_cannot_hold_either() -> None:
    assert {"activations", "calibration", "early"} <= open_knobs(space(), "quantization")
    assert open_knobs(space(quantization__weights=["fp32", "fp16"]), "quantization") == {"weights"}
    integer = space(quantization__weights=["fp32", "int8"])
    assert open_knobs(integer, "quantization") == {"weights", "activations", "calibration", "aware", "max_drop"}
    assert "calibration" not in open_knobs(space(quantization__activations="fp32"), "quantization")


@pytest.mark.parametrize("name", STEPS)
def test_no_knob_of_a_step_that_stays_off_is_asked(name: str) -> None:
    assert open_knobs(space(**{f"{name}__{STEPS[name].switch}": None}), name) == set()


def test_the_baseline_may_have_values_that_the_narrowed_space_never_takes() -> None:
    joint = joint_space(MBCONV, {}, Range(8, 32, 4), {"mbconv.scaling": "compound"}, {"mbconv.scaling": "free"})
    whole = joint_space(MBCONV, {}, Range(8, 32, 4), {}, {"mbconv.scaling": "free"})
    assert joint.baseline == whole.baseline
    assert "depth" in joint.baseline.knobs


@pytest.mark.parametrize("knob", ["mbconv.phi", "channel_pruning.ratio", "low_rank.ratio"])
def test_an_upside_down_range_is_refused_with_the_name_of_its_knob(knob: str) -> None:
    with pytest.raises(SpaceError, match=rf"^{knob}: low 0\.75 is above high 0\.5; the range is upside down$"):
        joint_space(FAMILIES, STEPS, Range(8, 32, 4), {knob: {"low": 0.75, "high": 0.5}}, {})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("mbconv.phi", 0.3, "mbconv.phi: 0.3 is not allowed"),
        ("mbconv.colour", 1, "mbconv.colour: no such knob; allowed: mbconv.activation"),
        ("channel_pruning.ratio", 0.5, "channel_pruning.ratio: no such knob"),  # the baseline is uncompressed
        ("mbconv.width", 1.0, "mbconv.width: counts only with mbconv.scaling: free; the baseline has compound"),
    ],
)
def test_a_baseline_that_cannot_be_is_refused_by_name(name: str, value: float, said: str) -> None:
    with pytest.raises(BaselineRefused, match=said):
        joint_space(FAMILIES, STEPS, Range(8, 32, 4), {}, {name: value})


def test_the_size_counts_every_combination() -> None:
    overrides = {name: joint.lowest for name, joint in space().knobs.items()}
    small = {"mbconv.kernel": [3, 5], "mbconv.phi": {"low": 1.0, "high": 3.0}, "quantization.weights": ["fp16", "int8"]}
    assert joint_space(MBCONV, STEPS, Range(8, 32, 4), overrides | small, {}).size == 2 * 5 * 2
