"""The example for a microcontroller: what fits by a schedule of its tensors need not fit by the engine's arena."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paredown.evaluators.build import apply_structural_steps, build, input_shape
from paredown.evaluators.files.model_writer import ModelWriter
from paredown.evaluators.litert.conversion import tflite_model
from paredown.evaluators.metrics.evaluation_input import Baseline
from paredown.search.study_file.schema import read_config
from paredown.search.study_file.setup import Setup, set_up
from paredown.search.trial.run_trial import check_untrained
from paredown.spaces.candidate import Candidate
from paredown.spaces.errors import InfeasibleCandidate

ROOT = Path(__file__).parents[3]
LIMIT = 64_000
LARGE = {"scaling": "free", "depth": 2.0, "width": 2.0, "resolution": 32, "expansion": 6}
"""Knobs of a network whose tensors alone would fit."""
SMALL = {"scaling": "free", "depth": 1.0, "width": 0.5, "resolution": 12, "expansion": 2}


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    file = ROOT / "examples/microcontroller.yaml"
    folder = tmp_path_factory.mktemp("example")
    return set_up(read_config(file, {}), str(file), file.parent, folder)


def candidate(setup: Setup, knobs: dict[str, Any]) -> Candidate:
    return setup.space.candidate({f"mbconv.{name}": value for name, value in knobs.items()})


def peak_of_live_tensors(model: bytes) -> int:
    """Return the largest number of bytes of tensors that are alive at a time, with no word of how they are placed."""
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

    file = schema.Model.GetRootAs(model, 0)
    graph = file.Subgraphs(0)
    steps = [graph.Operators(i) for i in range(graph.OperatorsLength())]
    sizes = {
        i: int(graph.Tensors(i).ShapeAsNumpy().prod())
        for i in range(graph.TensorsLength())
        if file.Buffers(graph.Tensors(i).Buffer()).DataLength() == 0
    }
    born, dies = {graph.Inputs(0): 0}, {graph.Outputs(0): len(steps)}
    for at, step in enumerate(steps):
        for tensor in step.OutputsAsNumpy():
            born.setdefault(int(tensor), at)
        for tensor in (*step.InputsAsNumpy(), *step.OutputsAsNumpy()):
            dies[int(tensor)] = max(dies.get(int(tensor), 0), at)
    return max(sum(size for t, size in sizes.items() if born[t] <= at <= dies[t]) for at in range(len(steps)))


def written(setup: Setup, knobs: dict[str, Any], file: Path) -> tuple[Candidate, Baseline]:
    """Return a candidate with its untrained file, as what latency is compared with."""
    made = candidate(setup, knobs)
    shape = input_shape(made, setup.task)
    network = apply_structural_steps(build(made, shape, len(setup.task.classes)), made, shape).network
    ModelWriter(made, setup.task, shape, setup.plan.device).write(network, file, trained=False)
    return made, Baseline(file, shape, 1.0)


def test_a_network_that_fits_by_its_tensors_is_rejected_by_the_arena_before_training(
    setup: Setup, tmp_path: Path
) -> None:
    large, reference = written(setup, LARGE, tmp_path / "model.onnx")
    assert large.steps["quantization"]["weights"] == "int8"
    assert peak_of_live_tensors(tflite_model(reference.file.read_bytes())) < LIMIT
    of_ram = tuple(o for o in setup.plan.objectives if o.metric.name != "flash_bytes")  # it breaks that limit too
    with pytest.raises(InfeasibleCandidate, match=r"ram_bytes \d+ B is above the limit 64000"):
        check_untrained(large, replace(setup.plan, baseline=reference, objectives=of_ram))


def test_small_networks_of_the_example_keep_its_limits(setup: Setup, tmp_path: Path) -> None:
    small, reference = written(setup, SMALL, tmp_path / "model.onnx")
    costs = tuple(o for o in setup.plan.objectives if o.metric.name != "accuracy")
    check_untrained(small, replace(setup.plan, baseline=reference, objectives=costs))
