"""What every exporter must do, on a network that was really trained."""

import copy
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from PIL import Image
from second_exporter import PROGRAM

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
from paredown.spaces.knob import Knobs
from paredown.studies.errors import ExportRefused, StudyError
from paredown.studies.exporters.catalogue import EXPORTERS
from paredown.studies.exporters.exporter import Exporter, ExportRequest, Manifest
from paredown.studies.exporters.litert import LITERT
from paredown.studies.exporters.onnx import ONNX
from paredown.studies.front import Model
from paredown.studies.model_folder.writing import write_model_folder
from paredown.studies.prediction import predict_images

ALL = [*EXPORTERS.values(), PROGRAM]


def train(folder: Path, weights: Knobs) -> ExportRequest:
    setup = set_up(read_config(None, {}), "default study", folder, folder)
    knobs = {"scaling": "free", "depth": 1.0, "width": 1.0, "resolution": 12}
    shared = {"kernel": 3, "expansion": 2, "squeeze_excite": False, "activation": "relu"}
    candidate = Candidate("mbconv", knobs | shared, {"channel_pruning": {"ratio": 0.25}, "quantization": dict(weights)})
    training = replace(setup.plan.training, epochs=6, finetune_epochs=2)
    result = run_trial(candidate, replace(setup.plan, training=training, threads=1))
    assert result.outcome == "done", result.reason
    model = Model(3, candidate, result.measurements, result.artifact)
    artifact = folder / result.artifact
    network, shape = rebuild(candidate, setup.task, artifact / WEIGHTS_FILE)
    return ExportRequest("digits", model, replace(model, trial=0), setup.task, network, shape, artifact)


@pytest.fixture(scope="session")
def halves(tmp_path_factory: pytest.TempPathFactory) -> ExportRequest:
    return train(tmp_path_factory.mktemp("halves"), {"weights": "fp16"})


@pytest.fixture(scope="session")
def integers(tmp_path_factory: pytest.TempPathFactory) -> ExportRequest:
    return train(tmp_path_factory.mktemp("integers"), {"weights": "int8", "activations": "uint8"})


@pytest.fixture(params=ALL, ids=lambda exporter: exporter.name)
def exporter(request: pytest.FixtureRequest) -> Exporter:
    one: Exporter = request.param
    return one


@pytest.fixture
def trained(exporter: Exporter, halves: ExportRequest, request: pytest.FixtureRequest) -> ExportRequest:
    """Return a model that the format can hold."""
    integers: ExportRequest = request.getfixturevalue("integers") if exporter is LITERT else halves
    return integers


class TestExporter:
    def test_the_folder_is_whole_and_says_what_it_is(
        self, exporter: Exporter, trained: ExportRequest, tmp_path: Path
    ) -> None:
        folder = tmp_path / "models" / "m"
        folder.mkdir(parents=True)
        (folder / "left over.txt").write_text("from before")
        test = write_model_folder(trained, exporter, folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        assert sorted(p.name for p in folder.iterdir()) == sorted([*manifest["files"], "manifest.json"])
        for file, digest in manifest["files"].items():
            assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest
        assert (manifest["exporter"], manifest["model_file"]) == (exporter.name, exporter.model_file)
        assert exporter.model_file in manifest["files"]
        assert set(manifest["versions"]) == {"paredown", "torch", *exporter.packages}
        assert Candidate.from_json(manifest["candidate"]) == trained.model.candidate
        assert manifest["metrics"]["test_accuracy"]["value"] == test.value > 0.5
        assert manifest["metrics"]["latency_ms"]["spread"] > 0
        assert manifest["parity"]["label_agreement"] >= (0.95 if exporter is LITERT else 0.99)
        assert manifest["deltas"]["size_bytes"] == 0.0
        card = (folder / "README.md").read_text()
        assert f"exported as {exporter.description}." in card
        assert "| size_bytes (counted) |" in card
        assert "| +0% |" in card
        assert ("which is of another format" in card) != exporter.is_trial_file
        assert list(folder.parent.iterdir()) == [folder]

    def test_the_card_says_what_steps_left_alone(
        self, exporter: Exporter, trained: ExportRequest, tmp_path: Path
    ) -> None:
        reasons = {f"block.{at}": "its groups are no single matrix" for at in range(5)} | {"head": "the output layer"}
        write_model_folder(replace(trained, skipped={"low_rank": reasons}), exporter, tmp_path / "m")
        assert json.loads((tmp_path / "m/manifest.json").read_text())["skipped"] == {"low_rank": reasons}
        card = (tmp_path / "m/README.md").read_text()
        assert "- low_rank: `block.0`, `block.1`, `block.2` and 2 more: its groups are no single matrix" in card
        assert "- low_rank: `head`: the output layer" in card
        write_model_folder(trained, exporter, tmp_path / "none")
        assert "left alone" not in (tmp_path / "none/README.md").read_text()

    def test_test_accuracy_is_that_of_the_own_file(
        self, exporter: Exporter, trained: ExportRequest, tmp_path: Path
    ) -> None:
        known = Measurement("test_accuracy", 0.123, 0.01, "measured")
        test = write_model_folder(replace(trained, test_accuracy=known), exporter, tmp_path / "m")
        assert (test == known) == exporter.is_trial_file, "it is measured once, or on a file that no trial measured"

    def test_a_file_that_is_not_the_network_is_refused(
        self, exporter: Exporter, trained: ExportRequest, tmp_path: Path
    ) -> None:
        other = copy.deepcopy(trained.network)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter += 0.5
        honest = exporter.write
        dishonest = replace(exporter, write=lambda request, folder: honest(trained, folder))
        with pytest.raises(ExportRefused, match="trial 3: "):
            write_model_folder(replace(trained, network=other), dishonest, tmp_path / "m")
        assert list(tmp_path.iterdir()) == []

    def test_a_file_that_cannot_be_run_is_refused(
        self, exporter: Exporter, trained: ExportRequest, tmp_path: Path
    ) -> None:
        def write(request: ExportRequest, folder: Path) -> Manifest:
            (folder / exporter.model_file).write_text("not a model")
            return {}

        with pytest.raises(ExportRefused, match=f"trial 3: {exporter.model_file}: .*cannot load"):
            write_model_folder(trained, replace(exporter, write=write), tmp_path / "m")
        assert list(tmp_path.iterdir()) == []

    def test_an_exported_model_reads_digits(
        self, exporter: Exporter, trained: ExportRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(EXPORTERS, exporter.name, exporter)
        write_model_folder(trained, exporter, tmp_path / "m")
        split = trained.task.load("test", 12)
        files = []
        for at in range(40):
            files.append(tmp_path / f"{at}.png")
            Image.fromarray(split.images[at, 0]).save(files[-1])
        found = predict_images(tmp_path / "m", files)
        images = normalisation_at(trained.task, 12)(split.images[:40])
        expected = predict(trained.network, images).argmax(1).tolist()
        agreed = sum(int(f["class"]) == label for f, label in zip(found, expected, strict=True))
        assert agreed >= (37 if exporter is LITERT else 39)  # few bits may tip a close call
        assert len(set(expected)) >= 5
        assert sum(c["probability"] for c in found[0]["top"]) <= 1 + 1e-9

    def test_a_changed_model_is_not_run(self, exporter: Exporter, trained: ExportRequest, tmp_path: Path) -> None:
        write_model_folder(trained, exporter, tmp_path / "m")
        shutil.copyfile(tmp_path / "m" / "README.md", tmp_path / "m" / exporter.model_file)
        with pytest.raises(StudyError, match=f"{exporter.model_file}: missing or changed"):
            predict_images(tmp_path / "m", [])
        with pytest.raises(StudyError, match=r"no manifest\.json"):
            predict_images(tmp_path, [])


def test_onnx_is_the_very_file_of_the_trial_and_the_same_packed(halves: ExportRequest, tmp_path: Path) -> None:
    write_model_folder(halves, ONNX, tmp_path / "m")
    model = (halves.artifact / MODEL_FILE).read_bytes()
    assert (tmp_path / "m/model.onnx").read_bytes() == model
    packed = (tmp_path / "m" / PACKED_FILE).read_bytes()
    manifest = json.loads((tmp_path / "m/manifest.json").read_text())
    assert len(packed) == manifest["packed"]["bytes"] == manifest["metrics"]["size_bytes"]["value"]
    assert unpack(packed) == model
    assert sum(manifest["packed"]["parts"].values()) == len(packed)
    assert "| dense | " in (tmp_path / "m/README.md").read_text()


def test_a_trial_of_before_there_were_packed_files_still_leaves(halves: ExportRequest, tmp_path: Path) -> None:
    shutil.copyfile(halves.artifact / MODEL_FILE, tmp_path / MODEL_FILE)
    write_model_folder(replace(halves, artifact=tmp_path), ONNX, tmp_path / "m")
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["README.md", "manifest.json", "model.onnx"]
    assert "Packed file" not in (tmp_path / "m" / "README.md").read_text()


@pytest.mark.parametrize("content", [b"broken", pack(onnx.ModelProto().SerializeToString())])
def test_a_packed_file_of_something_else_is_refused(content: bytes, halves: ExportRequest, tmp_path: Path) -> None:
    shutil.copyfile(halves.artifact / MODEL_FILE, tmp_path / MODEL_FILE)
    (tmp_path / PACKED_FILE).write_bytes(content)
    with pytest.raises(ExportRefused, match=r"trial 3: .*model\.packed"):
        write_model_folder(replace(halves, artifact=tmp_path), ONNX, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_trial_whose_file_is_gone_is_refused(halves: ExportRequest, tmp_path: Path) -> None:
    with pytest.raises(ExportRefused, match=r"trial 3: .*model\.onnx is gone; `paredown adopt` tells"):
        write_model_folder(replace(halves, artifact=tmp_path), ONNX, tmp_path / "m")


def test_litert_says_what_a_microcontroller_needs(integers: ExportRequest, tmp_path: Path) -> None:
    write_model_folder(integers, LITERT, tmp_path / "m")
    manifest = json.loads((tmp_path / "m/manifest.json").read_text())
    facts, card = manifest["microcontroller"], (tmp_path / "m/README.md").read_text()
    assert facts["file_bytes"] == (tmp_path / "m/model.tflite").stat().st_size
    assert facts["arena_bytes"] == facts["arena_head_bytes"] + facts["arena_tail_bytes"]
    assert f"an arena of {facts['arena_bytes']} bytes" in card
    assert f"{facts['file_bytes']} bytes for `model.tflite`" in card
    assert facts["litert_max_steps"] == 0
    assert "LiteRT's reference kernels give the same integers" in card
    assert facts["onnx_max_steps"] <= 3


def test_litert_refuses_what_is_not_int8(halves: ExportRequest, tmp_path: Path) -> None:
    with pytest.raises(ExportRefused, match=r"trial 3: no int8 TensorFlow Lite file: .*quantization\.weights int8"):
        write_model_folder(halves, LITERT, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []
