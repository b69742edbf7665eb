"""What every exporter must do, on a network that was really trained."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from PIL import Image

from paredown.evaluators.build import rebuild
from paredown.evaluators.files.names import MODEL_FILE, PACKED_FILE, WEIGHTS_FILE
from paredown.evaluators.metrics.measurement import Measurement
from paredown.evaluators.packing.container import pack, unpack
from paredown.evaluators.tasks.task import normalisation_at
from paredown.evaluators.training.inference import predict
from paredown.search.study_file.schema import read_config
from paredown.search.study_file.setup import set_up
from paredown.search.trial.run_trial import run_trial
from paredown.spaces.candidate import Candidate
from paredown.studies.errors import ExportRefused, StudyError
from paredown.studies.exporters.catalogue import EXPORTERS
from paredown.studies.exporters.exporter import ExportRequest
from paredown.studies.front import Model
from paredown.studies.prediction import predict_images


@pytest.fixture(scope="session")
def shipment(tmp_path_factory: pytest.TempPathFactory) -> ExportRequest:
    folder = tmp_path_factory.mktemp("trained")
    setup = set_up(read_config(None, {}), "default study", folder, folder)
    knobs = {"scaling": "free", "depth": 1.0, "width": 1.0, "resolution": 12}
    shared = {"kernel": 3, "expansion": 2, "squeeze_excite": False, "activation": "relu"}
    steps = {"channel_pruning": {"ratio": 0.25}, "quantization": {"weights": "fp16"}}
    candidate = Candidate("mbconv", knobs | shared, steps)
    training = replace(setup.plan.training, epochs=6, finetune_epochs=2)
    result = run_trial(candidate, replace(setup.plan, training=training, threads=1))
    assert result.outcome == "done", result.reason
    model = Model(3, candidate, result.measurements, result.artifact)
    artifact = folder / result.artifact
    network, shape = rebuild(candidate, setup.task, artifact / WEIGHTS_FILE)
    return ExportRequest("digits", model, replace(model, trial=0), setup.task, network, shape, artifact / MODEL_FILE)


@pytest.mark.parametrize("name", EXPORTERS)
def test_the_folder_is_whole_and_says_what_it_is(name: str, shipment: ExportRequest, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "m"
    folder.mkdir(parents=True)
    (folder / "left over.txt").write_text("from before")
    test = EXPORTERS[name](shipment, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert sorted(p.name for p in folder.iterdir()) == sorted([*manifest["files"], "manifest.json"])
    for file, digest in manifest["files"].items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest
    assert Candidate.from_json(manifest["candidate"]) == shipment.model.candidate
    assert manifest["metrics"]["test_accuracy"]["value"] == test.value > 0.5
    assert manifest["metrics"]["latency_ms"]["spread"] > 0
    assert manifest["parity"]["label_agreement"] >= 0.99
    assert manifest["deltas"]["size_bytes"] == 0.0
    assert (folder / "model.onnx").read_bytes() == shipment.file.read_bytes()
    packed = (folder / PACKED_FILE).read_bytes()
    assert len(packed) == manifest["packed"]["bytes"] == manifest["metrics"]["size_bytes"]["value"]
    assert unpack(packed) == shipment.file.read_bytes()
    assert sum(manifest["packed"]["parts"].values()) == len(packed)
    card = (folder / "README.md").read_text()
    assert "| dense | " in card
    assert "| size_bytes (counted) |" in card
    assert "| +0% |" in card
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("name", EXPORTERS)
def test_the_card_says_what_steps_left_alone(name: str, shipment: ExportRequest, tmp_path: Path) -> None:
    reasons = {f"block.{at}": "its groups are no single matrix" for at in range(5)} | {"head": "the output layer"}
    EXPORTERS[name](replace(shipment, skipped={"low_rank": reasons}), tmp_path / "m")
    assert json.loads((tmp_path / "m/manifest.json").read_text())["skipped"] == {"low_rank": reasons}
    card = (tmp_path / "m/README.md").read_text()
    assert "- low_rank: `block.0`, `block.1`, `block.2` and 2 more: its groups are no single matrix" in card
    assert "- low_rank: `head`: the output layer" in card
    EXPORTERS[name](shipment, tmp_path / "none")
    assert "left alone" not in (tmp_path / "none/README.md").read_text()


@pytest.mark.parametrize("name", EXPORTERS)
def test_test_accuracy_is_measured_once(name: str, shipment: ExportRequest, tmp_path: Path) -> None:
    known = Measurement("test_accuracy", 0.123, 0.01, "measured")
    assert EXPORTERS[name](replace(shipment, test_accuracy=known), tmp_path / "m") == known


def test_a_trial_of_before_there_were_packed_files_still_leaves(shipment: ExportRequest, tmp_path: Path) -> None:
    old = shutil.copyfile(shipment.file, tmp_path / "model.onnx")
    EXPORTERS["onnx"](replace(shipment, file=old), tmp_path / "m")
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["README.md", "manifest.json", "model.onnx"]
    assert "Packed file" not in (tmp_path / "m" / "README.md").read_text()


@pytest.mark.parametrize("content", [b"broken", pack(onnx.ModelProto().SerializeToString())])
def test_a_packed_file_of_something_else_is_refused(content: bytes, shipment: ExportRequest, tmp_path: Path) -> None:
    file = shutil.copyfile(shipment.file, tmp_path / "model.onnx")
    (tmp_path / PACKED_FILE).write_bytes(content)
    with pytest.raises(ExportRefused, match=r"trial 3: .*model\.packed"):
        EXPORTERS["onnx"](replace(shipment, file=file), tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("name", EXPORTERS)
def test_a_file_that_is_not_the_network_is_refused(name: str, shipment: ExportRequest, tmp_path: Path) -> None:
    other = shipment.network.__class__(*shipment.network.children())
    state = {k: v + 0.5 if v.is_floating_point() else v for k, v in shipment.network.state_dict().items()}
    original = {k: v.clone() for k, v in shipment.network.state_dict().items()}
    other.load_state_dict(state)
    try:
        with pytest.raises(ExportRefused, match="trial 3"):
            EXPORTERS[name](replace(shipment, network=other), tmp_path / "m")
    finally:
        shipment.network.load_state_dict(original)
    assert list(tmp_path.iterdir()) == []


def test_an_exported_model_reads_digits(shipment: ExportRequest, tmp_path: Path) -> None:
    EXPORTERS["onnx"](shipment, tmp_path / "m")
    split = shipment.task.load("test", 12)
    files = []
    for at in range(40):
        files.append(tmp_path / f"{at}.png")
        Image.fromarray(split.images[at, 0]).save(files[-1])
    found = predict_images(tmp_path / "m", files)
    images = normalisation_at(shipment.task, 12)(split.images[:40])
    expected = predict(shipment.network, images).argmax(1).tolist()
    agreed = sum(int(f["class"]) == label for f, label in zip(found, expected, strict=True))
    assert agreed >= 39  # float16 may tip a close call
    assert len(set(expected)) >= 5
    assert sum(c["probability"] for c in found[0]["top"]) <= 1 + 1e-9


def test_a_changed_model_is_not_run(shipment: ExportRequest, tmp_path: Path) -> None:
    EXPORTERS["onnx"](shipment, tmp_path / "m")
    shutil.copyfile(tmp_path / "m" / "README.md", tmp_path / "m" / "model.onnx")
    with pytest.raises(StudyError, match=r"model\.onnx: missing or changed"):
        predict_images(tmp_path / "m", [])
    with pytest.raises(StudyError, match=r"no manifest\.json"):
        predict_images(tmp_path, [])
