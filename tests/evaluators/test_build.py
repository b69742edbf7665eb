"""Costs are counted on the untrained network: those of the real thing, without its arithmetic."""

from pathlib import Path

import pytest
import torch

from paredown.evaluators.build import COUNTED, apply_structural_steps, build, count_costs, input_shape, shaping
from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.evaluation_input import EvaluationInput
from paredown.evaluators.tasks.spec import TaskSpec, load_task
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.families.imported import NAME as IMPORTED
from paredown.spaces.knob import Knobs, Range, Value
from paredown.spaces.space import joint_space

RESNET: Knobs = {
    "block": "basic",
    "blocks": 1,
    "widths": "equal",
    "width": 1.0,
    "shortcut": "projected",
    "activation": "relu",
    "resolution": 8,
}
LOW: dict[str, Value] = {"ratio": 0.375, "rule": "ratio", "kernel": "tucker2"}
PRUNED: dict[str, Value] = {"ratio": 0.5}
DRAWN = 6
SPARSE = {name: knob.lowest for name, knob in STEPS["unstructured_pruning"].knobs.items()} | {"ratio": 0.5}


@pytest.mark.parametrize(
    "steps",
    [
        {"low_rank": LOW},
        {"low_rank": LOW | {"kernel": "spatial"}},
        {"low_rank": LOW | {"rule": "energy", "energy": 0.6}},
        {"channel_pruning": PRUNED, "low_rank": LOW},
        {"low_rank": LOW, "stripe_pruning": {"ratio": 0.5, "axis": "stripe"}},
        {"low_rank": LOW, "unstructured_pruning": SPARSE},
    ],
    ids=str,
)
def test_counted_costs_are_those_of_the_real_network(steps: dict[str, Knobs]) -> None:
    task = load_task(TaskSpec("digits", "{}", Path()))
    candidate = Candidate("resnet", RESNET, steps)
    shape = (1, 8, 8)
    torch.manual_seed(0)
    counted = count_costs(candidate, task)
    torch.manual_seed(0)
    real = apply_structural_steps(FAMILIES["resnet"].build(RESNET, shape, 10), candidate, shape).network
    assert counted == {name: EVALUATORS[name].evaluate(EvaluationInput(real, shape)).value for name in COUNTED}


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != IMPORTED])
def test_what_is_not_checked_of_our_own_families_would_have_passed(family: str) -> None:
    task = load_task(TaskSpec("digits", "{}", Path()))
    steps = {name: STEPS[name] for name in ("channel_pruning", "low_rank")}
    space = joint_space({family: FAMILIES[family]}, steps, Range(8, 16, 4), {}, {})
    counted = 0
    for seed in range(DRAWN):
        candidate, shape = space.draw(seed), input_shape(space.draw(seed), task)
        torch.manual_seed(seed)
        costs = count_costs(candidate, task)
        torch.manual_seed(seed)
        try:
            network = apply_structural_steps(build(candidate, shape, 10), candidate, shape).network
        except InfeasibleCandidate:
            assert costs is None
            continue
        counted += bool(candidate.steps)
        assert costs == {name: EVALUATORS[name].evaluate(EvaluationInput(network, shape)).value for name in COUNTED}
    assert counted


def test_candidates_that_differ_only_in_the_file_share_their_shapes() -> None:
    small = Candidate("resnet", RESNET, {"channel_pruning": PRUNED, "quantization": {"weights": "int8"}})
    assert shaping(small) == Candidate("resnet", RESNET, {"channel_pruning": PRUNED})


def test_ranks_by_ratio_are_counted_without_a_decomposition(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a decomposition")

    task = load_task(TaskSpec("digits", "{}", Path()))
    candidate = Candidate("resnet", RESNET, {"low_rank": LOW})
    monkeypatch.setattr(torch.linalg, "svd", refuse)
    assert count_costs(candidate, task) is not None
    with pytest.raises(AssertionError, match="a decomposition"):
        apply_structural_steps(FAMILIES["resnet"].build(RESNET, (1, 8, 8), 10), candidate, (1, 8, 8))
