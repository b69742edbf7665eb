"""A signal of one row, from a function of the user's to predictions of the exported model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paredown.evaluators.build import input_shape, rebuild
from paredown.evaluators.files.names import WEIGHTS_FILE
from paredown.evaluators.tasks.task import split_at
from paredown.search.study_file.schema import checked_config
from paredown.search.study_file.setup import set_up
from paredown.search.trial.run_trial import run_trial
from paredown.spaces.candidate import Candidate
from paredown.studies.exporters.catalogue import EXPORTERS
from paredown.studies.exporters.exporter import ExportRequest
from paredown.studies.front import Model
from paredown.studies.model_folder.writing import write_model_folder
from paredown.studies.prediction import predict_images

MODULE = """
import numpy as np

def data():
    splits = {}
    for seed, (name, n) in enumerate({"train": 120, "validation": 60, "test": 60}.items()):
        rng = np.random.default_rng(seed)
        labels = np.arange(n) % 3
        t = np.arange(64) / 64
        phases = rng.random((n, 1)) * 6
        waves = np.sin(2 * np.pi * (2 + 4 * labels[:, None]) * t + phases) + 0.1 * rng.standard_normal((n, 64))
        splits[name] = waves.astype(np.float32)[:, None], labels  # n x 1 x 64, negative values too
    return splits | {"classes": ["slow", "[medium]", "fast"]}
"""


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["fp32", "int8"])
def test_a_signal_is_learned_exported_and_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    module = f"signals_of_test_{weights}"
    (tmp_path / f"{module}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    data = {"study": "waves", "task": {"python": f"{module}:data"}, "objectives": ["accuracy", "latency_ms"]}
    setup = set_up(checked_config(data, "waves.yaml", {}), "waves.yaml", tmp_path, tmp_path / "out")
    task = setup.task
    knobs = {"scaling": "free", "depth": 1.0, "width": 1.0, "resolution": 64, "kernel": 5, "expansion": 2}
    steps = {} if weights == "fp32" else {"quantization": {**_quantization(), "weights": weights}}
    candidate = Candidate("mbconv", knobs | {"squeeze_excite": False, "activation": "relu"}, steps)
    assert input_shape(candidate, task) == (1, 1, 64)
    training = replace(setup.plan.training, epochs=16, finetune_epochs=2, patience=16, batch_size=16)
    result = run_trial(candidate, replace(setup.plan, training=training, threads=1))
    assert result.outcome == "done", result.reason
    assert result.measurements["accuracy"].value >= 0.95
    model, artifact = Model(0, candidate, result.measurements, result.artifact), tmp_path / "out" / result.artifact
    network, shape = rebuild(candidate, task, artifact / WEIGHTS_FILE)
    request = ExportRequest("waves", model, model, task, network, shape, artifact)
    folder = tmp_path / "model"
    test = write_model_folder(request, EXPORTERS["onnx"], folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [manifest["input"][key] for key in ("channels", "height", "width", "dtype")] == [1, 1, 64, "float32"]
    split = split_at(task, "test", 64)
    assert manifest["input"]["range"][0] < -0.9
    files = []
    for at, image in enumerate(split.images[:]):
        files.append(tmp_path / f"{at}.npy")
        np.save(files[-1], image[0, 0])  # 64 numbers
    found = [prediction["class"] for prediction in predict_images(folder, files)]
    right = np.mean([name == task.classes[label] for name, label in zip(found, split.labels, strict=True)])
    assert right == pytest.approx(test.value)


def _quantization() -> dict[str, object]:
    from paredown.spaces.compression.catalogue import STEPS

    return {name: knob.lowest for name, knob in STEPS["quantization"].knobs.items() if not knob.only_if}
