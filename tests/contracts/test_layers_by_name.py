"""Over all steps: a layer that the user excludes stays as it is, one that is pinned keeps its shape."""

import numpy as np
import onnx
import pytest
import torch
from odd_networks import CLASSES, SIDE, Odd
from torch import nn

from paredown.evaluators.files.onnx_model import export
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.compression.node_names import module_of
from paredown.spaces.compression.step import RewriteContext, TransformContext
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.knob import Knobs

STRONG: dict[str, Knobs] = {
    "layer_pruning": {"ratio": 0.75, "criterion": "similarity"},
    "channel_pruning": {"ratio": 0.5},
    "grouped_convolution": {"groups": 2},
    "low_rank": {"ratio": 0.25},
    "stripe_pruning": {"ratio": 0.875, "axis": "row"},
    "unstructured_pruning": {"ratio": 0.9, "scope": "global", "pattern": "none", "schedule": "one_shot"},
    "transform_sparsity": {"domain": "dct", "rule": "ratio", "amount": 0.05},
}
TRANSFORMS = [name for name, step in STEPS.items() if step.transform is not None]


def network() -> nn.Module:
    torch.manual_seed(0)
    return Odd(nn.Conv2d).eval()


def transformed(step: str, excluded: tuple[str, ...], pinned: tuple[str, ...]) -> tuple[nn.Module, TransformContext]:
    transform = STEPS[step].transform
    assert transform is not None
    context = TransformContext(torch.zeros(1, 1, SIDE, SIDE), excluded=excluded, pinned=pinned)
    try:
        return transform(network(), STRONG[step], context), context
    except InfeasibleCandidate:
        return network(), context


@pytest.mark.parametrize("step", TRANSFORMS)
@pytest.mark.parametrize("pattern", ["middle", "midd*", "mi[d]dle"])
def test_an_excluded_layer_stays_and_is_named_with_the_pattern(step: str, pattern: str) -> None:
    changed, context = transformed(step, (pattern,), ())
    assert torch.equal(changed.middle.weight, network().middle.weight)  # type: ignore[union-attr,arg-type]
    assert context.skipped["middle"] == f"the user keeps {pattern!r} as it is"


@pytest.mark.parametrize("step", TRANSFORMS)
def test_a_name_stands_for_all_inside_it(step: str) -> None:
    changed, context = transformed(step, ("last",), ())
    assert torch.equal(changed.last[0].weight, network().last[0].weight)  # type: ignore[index]
    assert any(name.startswith("last") for name in context.skipped)


@pytest.mark.parametrize("step", TRANSFORMS)
def test_a_pinned_layer_keeps_its_shape(step: str) -> None:
    changed, _ = transformed(step, (), ("middle",))
    assert changed.middle.weight.shape == network().middle.weight.shape  # type: ignore[union-attr]
    free, _ = transformed(step, (), ())
    assert "middle.weight" not in free.state_dict() or not torch.equal(
        free.state_dict()["middle.weight"].flatten()[:64], network().state_dict()["middle.weight"].flatten()[:64]
    )


@pytest.mark.parametrize(
    "knobs",
    [
        {"weights": "int8", "activations": "uint8", "calibration": "minmax"},
        {"weights": "int8", "activations": "fp32"},
        {"weights": "fp16"},
        {"weights": "bf16"},
    ],
)
def test_the_file_keeps_an_excluded_layer_in_float32(knobs: Knobs) -> None:
    rewrite = STEPS["quantization"].rewrite
    assert rewrite is not None
    images = np.random.default_rng(0).normal(size=(8, 1, SIDE, SIDE)).astype(np.float32)
    calibration = RewriteContext(images, np.arange(8) % CLASSES, excluded=("middle",))
    changed = onnx.load_from_string(rewrite(export(network(), (1, SIDE, SIDE)), knobs, calibration))
    floats = [t for t in changed.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    wanted = network().middle.weight.detach().numpy()  # type: ignore[union-attr,operator]
    found = [onnx.numpy_helper.to_array(t) for t in floats if list(t.dims) == list(wanted.shape)]
    assert any(np.array_equal(array, wanted) for array in found)


def test_names_of_operators_lead_to_their_modules() -> None:
    assert module_of("/stem/stem.0/Conv") == "stem.0"
    assert module_of("/m.0/m.0.1/m.0.1.0/Conv") == "m.0.1.0"
    assert module_of("/enc/self_attn/MatMul") == "enc.self_attn"
    assert module_of("/MatMul") == ""


def test_patterns_are_part_of_a_candidate_only_where_there_are_any() -> None:
    plain = Candidate("mbconv", {}, {"low_rank": {"ratio": 0.5}})
    kept = Candidate("mbconv", {}, {"low_rank": {"ratio": 0.5}}, skip=("head",), keep=("stem.*",))
    assert "skip" not in plain.to_json()
    assert plain.digest != kept.digest
    assert Candidate.from_json(kept.to_json()) == kept
    assert Candidate.from_json(plain.to_json()) == plain
